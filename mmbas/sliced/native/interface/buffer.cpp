#include "buffer.h"

#include <cstring>
#include <new>

namespace {

constexpr int64_t kLine = 64;

}  // namespace

Buffer::Buffer(int64_t bytes) : bytes_((bytes + kLine - 1) / kLine * kLine) {
    if (!bytes) return;
    data_.reset((char *)std::aligned_alloc(kLine, bytes_));
    if (!data_) throw std::bad_alloc();
    std::memset(data_.get(), 0, bytes_);
}
