#include "model_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "crc32.h"

namespace {

constexpr unsigned char kMagic[8] = {0x89, 'M', 'M', 'B', 'A', 'S', '\r', '\n'};
constexpr uint32_t kVersion = 1;
constexpr size_t kHeader = 24;  // magic, version, checksum, size
constexpr int kMaxImageChannels = 4;

struct Descriptor {
    int number;
    ~Descriptor() {
        if (number >= 0) close(number);
    }
};

template <class T>
T read_at(const unsigned char *bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

void check_machine() {
    const uint32_t one = 1;
    if (read_at<unsigned char>((const unsigned char *)&one) != 1)
        throw FileError("needs a machine that stores the lowest byte first");
}

// What the header promises, before anything else is read.
void check_header(const unsigned char *header, size_t count, uint64_t size) {
    check_machine();
    if (count < sizeof kMagic || std::memcmp(header, kMagic, sizeof kMagic) != 0)
        throw FileError("is no mmbas file, or was changed on its way as text");
    if (count < kHeader) throw FileError("is cut off in its header");
    const uint32_t version = read_at<uint32_t>(header + 8);
    if (version != kVersion)
        throw FileError("has format " + std::to_string(version) + ", but this library reads " +
                        std::to_string(kVersion) + "; update it, or export the network anew");
    const uint64_t promised = read_at<uint64_t>(header + 16);
    if (promised > size)
        throw FileError("is cut off: it has " + std::to_string(size) + " of " +
                        std::to_string(promised) + " bytes");
    if (promised < size) throw FileError("has more bytes than it says");
}

void check_checksum(const unsigned char *header, const Crc32 &crc) {
    if (read_at<uint32_t>(header + 12) != crc.value())
        throw FileError("is damaged: its checksum is another one");
}

// Reads values one after the other and refuses to pass the end.
class Reader {
   public:
    Reader(const unsigned char *bytes, size_t count, const char *name)
        : at_(bytes), left_(count), name_(name) {}

    template <class T>
    T value() {
        return read_at<T>(take(sizeof(T)));
    }
    int32_t integer() { return value<int32_t>(); }
    // From 0 to `most`.
    int32_t count(int32_t most) {
        int32_t number = integer();
        if (number < 0 || number > most) fail();
        return number;
    }
    const float *floats(int64_t number) {
        if (number < 0 || number > (int64_t)(left_ / sizeof(float))) fail();
        return (const float *)take(number * sizeof(float));
    }
    std::string text() {
        uint32_t bytes = value<uint32_t>();
        return std::string((const char *)take(bytes), bytes);
    }
    void finish() const {
        if (left_) fail();
    }
    [[noreturn]] void fail() const {
        throw FileError(std::string("has a section '") + name_ + "' that makes no sense");
    }

   private:
    const unsigned char *take(size_t count) {
        if (count > left_) fail();
        const unsigned char *start = at_;
        at_ += count;
        left_ -= count;
        return start;
    }

    const unsigned char *at_;
    size_t left_;
    const char *name_;
};

constexpr size_t kNameBytes = 8, kAlignment = 64, kMaxSections = 64;

// The section of that name.
Reader section(const FileBytes &file, const char *name) {
    Reader table(file.data() + kHeader, file.size() - kHeader, "table");
    const uint32_t number = table.value<uint32_t>();
    table.value<uint32_t>();
    if (number > kMaxSections) table.fail();
    char wanted[kNameBytes] = {};
    std::memcpy(wanted, name, std::strlen(name));
    for (uint32_t i = 0; i < number; i++) {
        const auto found = table.value<uint64_t>();
        const auto offset = table.value<uint64_t>(), bytes = table.value<uint64_t>();
        if (offset > file.size() || bytes > file.size() - offset || offset % kAlignment)
            table.fail();
        if (std::memcmp(&found, wanted, kNameBytes) == 0)
            return Reader(file.data() + offset, bytes, name);
    }
    throw FileError(std::string("has no section '") + name + "'");
}

// Reads a description and the weights that belong to it.
class NetworkReader {
   public:
    NetworkReader(Reader words, Reader weights, int image_channels)
        : words_(words), weights_(weights), image_channels_(image_channels) {}

    void read(ModelFile &file) {
        file.stem.resize(words_.count(16));
        file.max_pool = words_.count(1);
        file.blocks.resize(words_.count(4096));
        file.num_outputs = words_.count(4096);
        file.has_head = words_.count(1);
        for (MmbasConv &conv : file.stem) conv = this->conv();
        if (file.stem.empty() || file.stem[0].in_channels != image_channels_) words_.fail();
        for (MmbasBlock &block : file.blocks) block = this->block();
        if (file.has_head) head(file);
        words_.finish();
        weights_.finish();
    }

   private:
    int32_t size() { return words_.count(1 << 17); }

    MmbasConv conv() {
        MmbasConv conv = {};
        conv.in_channels = size();
        conv.out_channels = size();
        conv.kernel = words_.count(15);
        conv.stride = words_.count(2);
        conv.dilation = words_.count(64);
        conv.weights = weights_.floats((int64_t)conv.in_channels * conv.out_channels *
                                       conv.kernel * conv.kernel);
        conv.bias = weights_.floats(conv.out_channels);
        return conv;
    }

    MmbasGate gate() {
        MmbasGate gate = {};
        gate.in_channels = size();
        gate.hidden = size();
        gate.num_gates = size();
        gate.weights = weights_.floats((int64_t)gate.in_channels * gate.hidden);
        gate.bias = weights_.floats(gate.hidden);
        gate.weights2 = weights_.floats((int64_t)gate.num_gates * gate.hidden);
        gate.bias2 = weights_.floats(gate.num_gates);
        return gate;
    }

    MmbasBlock block() {
        MmbasBlock block = {};
        block.num_convs = words_.count(3);
        for (int32_t &first : block.first_gates) first = words_.integer();
        block.has_gate = words_.count(1);
        block.shortcut = words_.count(MMBAS_SUBSAMPLE);
        block.pooling = words_.count(2);
        block.output = words_.integer();
        block.skip = words_.count(MMBAS_SKIP_BLOCK);
        for (int i = 0; i < block.num_convs; i++) block.convs[i] = conv();
        if (block.shortcut == MMBAS_CONV) block.shortcut_conv = conv();
        if (block.has_gate) block.gate = gate();
        return block;
    }

    void head(ModelFile &file) {
        file.head.average = words_.count(1);
        file.head.align_corners = words_.count(1);
        file.head.num_pools = words_.count(8);
        file.head.num_convs = words_.count(16);
        for (int i = 0; i < file.head.num_pools; i++) {
            file.head.pool_sizes[i] = words_.count(64);
            file.head.pools[i] = conv();
        }
        for (int i = 0; i < file.head.num_convs; i++) file.head_convs.push_back(conv());
        file.head.convs = file.head_convs.data();
    }

    Reader words_, weights_;
    int image_channels_;
};

Preparation read_preparation(Reader reader) {
    Preparation result;
    const int channels = reader.count(kMaxImageChannels);
    result.order = reader.count(1);
    for (std::vector<float> *values : {&result.mean, &result.std})
        for (int c = 0; c < channels; c++) values->push_back(reader.value<float>());
    for (float each : result.std)
        if (!std::isfinite(each) || each == 0) reader.fail();
    reader.finish();
    return result;
}

}  // namespace

FileBytes::FileBytes(const std::string &path) {
    Descriptor file = {open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    struct stat status;
    if (file.number < 0 || fstat(file.number, &status) != 0) throw FileError(std::strerror(errno));
    if (!S_ISREG(status.st_mode)) throw FileError("is no file");
    size_ = (size_t)status.st_size;
    unsigned char header[kHeader];
    ssize_t got = pread(file.number, header, kHeader, 0);
    check_header(header, got < 0 ? 0 : (size_t)got, size_);
    Crc32 crc;
    std::vector<unsigned char> piece(1 << 18);
    for (size_t at = kHeader; at < size_; at += (size_t)got) {
        got = pread(file.number, piece.data(), piece.size(), (off_t)at);
        if (got <= 0) throw FileError("cannot be read");
        crc.add(piece.data(), (size_t)got);
    }
    check_checksum(header, crc);
    void *memory = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.number, 0);
    if (memory == MAP_FAILED) throw FileError(std::strerror(errno));
    data_ = (const unsigned char *)memory;
    mapped_ = true;
}

FileBytes::FileBytes(const void *bytes, size_t count)
    : data_((const unsigned char *)bytes), size_(count) {
    check_header(data_, count, count);
    Crc32 crc;
    crc.add(data_ + kHeader, count - kHeader);
    check_checksum(data_, crc);
    if ((uintptr_t)bytes % alignof(float) == 0) return;
    copy_ = Buffer((int64_t)count);
    std::memcpy(copy_.data(), bytes, count);
    data_ = (const unsigned char *)copy_.data();
}

FileBytes::~FileBytes() {
    if (mapped_) munmap((void *)data_, size_);
}

void FileBytes::release(const void *end) const {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t bytes = (size_t)((const unsigned char *)end - data_) / page * page;
    if (mapped_ && bytes) madvise((void *)data_, bytes, MADV_DONTNEED);
}

ModelFile::ModelFile(const FileBytes &bytes) {
    preparation = read_preparation(section(bytes, "prepare"));
    NetworkReader(section(bytes, "network"), section(bytes, "weights"),
                  (int)preparation.mean.size())
        .read(*this);
    Reader text = section(bytes, "text");
    const uint32_t number = text.value<uint32_t>();
    for (uint32_t i = 0; i < number; i++) {
        std::string key = text.text();
        texts[key] = text.text();
    }
    text.finish();
}

MmbasNetwork ModelFile::network() const {
    return {(int32_t)stem.size(), max_pool, (int32_t)blocks.size(), num_outputs, stem.data(),
            blocks.data()};
}
