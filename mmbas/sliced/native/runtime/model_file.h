// Reads a runtime file, whose format docs/runtime-file.md describes.
#pragma once
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "../interface/backbone.h"
#include "../interface/buffer.h"

// The file cannot be used; the text is one clause about it.
class FileError : public std::runtime_error {
   public:
    using std::runtime_error::runtime_error;
};

// Bytes of a file: mapped, or somebody else's memory.
class FileBytes {
   public:
    // Checks the checksum on the way, without keeping the file in memory.
    explicit FileBytes(const std::string &path);
    FileBytes(const void *bytes, size_t count);
    FileBytes(const FileBytes &) = delete;
    ~FileBytes();

    const unsigned char *data() const { return data_; }
    size_t size() const { return size_; }
    // Gives back the memory of the pages before `end`, which are read anew if need be.
    void release(const void *end) const;

   private:
    const unsigned char *data_ = nullptr;
    size_t size_ = 0;
    bool mapped_ = false;
    Buffer copy_;  // of bytes at an odd address
};

// How images become what the network reads.
struct Preparation {
    int32_t order = 0;  // 0: RGB, 1: BGR
    std::vector<float> mean, std;
};

// What a file says; its pointers lead into the bytes.
struct ModelFile {
    explicit ModelFile(const FileBytes &bytes);
    MmbasNetwork network() const;

    int32_t max_pool = 0, num_outputs = 0;
    std::vector<MmbasConv> stem;
    std::vector<MmbasBlock> blocks;
    bool has_head = false;
    MmbasHead head = {};
    std::vector<MmbasConv> head_convs;
    Preparation preparation;
    std::map<std::string, std::string> texts;
};
