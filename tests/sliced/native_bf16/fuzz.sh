#!/bin/sh
# Compiles the kernels with sanitizers and runs random networks: fuzz.sh [networks] [first seed]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kernels="$here/../../../mmbas/sliced/native_bf16/kernels"
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
wide="-mavx512f -mavx512vl -mavx512bw -mavx512dq -mavx512bf16 -mfma -mbmi -mbmi2"
for source in "$kernels"/*.cpp "$here/fuzz_networks.cpp"; do
    name=$(basename "$source" .cpp)
    flags=""
    case "$name" in
        run_avx512_bf16 | run_amx) [ "$(uname -m)" = x86_64 ] || continue; flags="$wide" ;;
    esac
    [ "$name" != run_amx ] || flags="$flags -mamx-tile -mamx-bf16"
    # shellcheck disable=SC2086  # flags are words
    ${CXX:-g++} -std=c++17 -O1 -g -fopenmp -fsanitize=address,undefined -fno-sanitize-recover=all \
        $flags "-I$kernels" -c "$source" -o "$build/$name.o" &
done
wait
${CXX:-g++} -fopenmp -fsanitize=address,undefined "$build"/*.o -o "$build/fuzz"
OMP_WAIT_POLICY=PASSIVE "$build/fuzz" "$@"
