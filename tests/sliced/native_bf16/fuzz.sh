#!/bin/sh
# Compiles the kernels with sanitizers and runs random networks: fuzz.sh [networks] [first seed]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sliced="$here/../../../mmbas/sliced"
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
wide="-mavx512f -mavx512vl -mavx512bw -mavx512dq -mavx2 -mfma"
brain="$wide -mavx512bf16 -mbmi -mbmi2"
number=0
for source in "$sliced"/native/*/*.cpp "$sliced"/native_bf16/kernels/*.cpp "$here/fuzz_networks.cpp"; do
    flags=""
    if [ "$(uname -m)" = x86_64 ]; then
        case "$(basename "$source" .cpp)" in
            run_avx2) flags="-mavx2 -mfma" ;;
            run_avx512) flags="$wide" ;;
            run_avx512_bf16) flags="$brain" ;;
            run_amx) flags="$brain -mamx-tile -mamx-bf16" ;;
        esac
    fi
    # shellcheck disable=SC2086  # flags are words
    ${CXX:-g++} -std=c++17 -O1 -g -fopenmp -fsanitize=address,undefined -fno-sanitize-recover=all \
        $flags -c "$source" -o "$build/$number.o" &
    number=$((number + 1))
done
wait
${CXX:-g++} -fopenmp -fsanitize=address,undefined "$build"/*.o -o "$build/fuzz"
OMP_WAIT_POLICY=PASSIVE "$build/fuzz" "$@"
