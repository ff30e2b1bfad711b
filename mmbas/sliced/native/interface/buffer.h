// Memory that begins at a cache line; zero at first.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>

class Buffer {
   public:
    explicit Buffer(int64_t bytes = 0);
    char *data() const { return data_.get(); }
    int64_t bytes() const { return bytes_; }

   private:
    struct Free {
        void operator()(char *memory) const { std::free(memory); }
    };
    std::unique_ptr<char, Free> data_;
    int64_t bytes_;
};
