/* codec: what the generated conversions (wire.cc) share. Included by generated code only.
 *
 * The official FlatBufferBuilder writes and the official Verifier judges; between them and the C structs stands only
 * this. */
#ifndef PROTO_CODEC_HH
#define PROTO_CODEC_HH

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include <flatbuffers/flatbuffers.h>

extern "C" {
#include "base/arena.h"
#include "base/buf.h"
#include "base/types.h"
#include "env/transport.h"
}

namespace codec
{

using flatbuffers::Offset;
using flatbuffers::Vector;

constexpr size_t MESSAGE_SIZE_MAX = size_t{1} << 30; /* FlatBuffers ends at 2 GiB */
constexpr size_t TABLE_COUNT_MAX = 1000000;          /* of one message; what is written can also be read */
constexpr size_t BUILDER_SIZE_KEPT = 256 * 1024;
constexpr flatbuffers::uoffset_t DEPTH_MAX = 16;

/* Used for one message at a time, then reset: it carries memory from message to message and nothing else. */
struct Encoder {
    flatbuffers::FlatBufferBuilder builder{4096};
    std::vector<flatbuffers::uoffset_t> offsets; /* of finished children, a stack: arrays nest */
    size_t size_max = 0;
    size_t table_count = 0;
    bool too_large = false; /* then nothing more is built: a giant input must not make a giant buffer first */

    void start(size_t limit)
    {
        builder.Clear();
        offsets.clear();
        size_max = std::min(limit, MESSAGE_SIZE_MAX);
        table_count = 0;
        too_large = false;
    }

    /* One giant message must not pin its memory for ever. */
    void finish()
    {
        if (builder.GetSize() > BUILDER_SIZE_KEPT)
            builder.Reset();
        if (offsets.capacity() * sizeof offsets[0] > BUILDER_SIZE_KEPT)
            std::vector<flatbuffers::uoffset_t>().swap(offsets);
    }

    bool has_room(size_t size)
    {
        size_t used = builder.GetSize();
        if (used > size_max || size > size_max - used)
            too_large = true;
        return !too_large;
    }

    void count_table()
    {
        if (++table_count > TABLE_COUNT_MAX)
            too_large = true;
    }

    Offset<Vector<uint8_t>> bytes(struct bytes in)
    {
        if (!in.data || !has_room(in.size))
            return 0;
        return builder.CreateVector(in.data, in.size);
    }

    Offset<flatbuffers::String> string(struct bytes in)
    {
        if (!in.data || !has_room(in.size))
            return 0;
        return builder.CreateString(reinterpret_cast<const char *>(in.data), in.size);
    }

    Offset<Vector<uint64_t>> numbers(const uint64_t *in, uint32_t count)
    {
        if (count == 0 || !has_room(count * sizeof *in))
            return 0;
        return builder.CreateVector(in, count);
    }

    template <typename T, typename S>
    Offset<Vector<Offset<T>>> tables(const S *in, uint32_t count, Offset<T> (*put)(Encoder &, const S &))
    {
        if (count == 0)
            return 0;
        size_t base = offsets.size();
        for (uint32_t i = 0; i < count && has_room(sizeof(flatbuffers::uoffset_t)); i++)
            offsets.push_back(put(*this, in[i]).o);
        Offset<Vector<Offset<T>>> vector = 0;
        if (has_room(count * sizeof(flatbuffers::uoffset_t))) {
            builder.StartVector(count, sizeof(flatbuffers::uoffset_t));
            for (uint32_t i = count; i > 0; i--)
                builder.PushElement(Offset<T>(offsets[base + i - 1]));
            vector = builder.EndVector(count);
        }
        offsets.resize(base);
        return vector;
    }
};

/* One per thread, because making a builder costs more than filling it. */
inline Encoder &encoder_of_thread()
{
    static thread_local Encoder encoder;
    return encoder;
}

template <typename T, typename S> bool build(Encoder &encoder, const S &in, Offset<T> (*put)(Encoder &, const S &))
{
    Offset<T> root = put(encoder, in);
    if (encoder.too_large)
        return false;
    encoder.builder.Finish(root);
    return encoder.has_room(0);
}

template <typename T, typename S> enum err encode(const S &in, Offset<T> (*put)(Encoder &, const S &), struct buf *out)
{
    Encoder &encoder = encoder_of_thread();
    encoder.start(out->size_max);
    enum err code = ERR_ENTRY_TOO_LARGE;
    if (build(encoder, in, put))
        code = buf_assign(out, bytes_of(encoder.builder.GetBufferPointer(), encoder.builder.GetSize()));
    encoder.finish();
    return code;
}

template <typename T, typename S>
struct frame *encode_frame(uint16_t kind, const S &in, Offset<T> (*put)(Encoder &, const S &))
{
    Encoder &encoder = encoder_of_thread();
    encoder.start(FRAME_SIZE_MAX);
    struct frame *frame = nullptr;
    if (build(encoder, in, put)) {
        frame = frame_new(kind, encoder.builder.GetSize());
        std::memcpy(frame->payload, encoder.builder.GetBufferPointer(), encoder.builder.GetSize());
    }
    encoder.finish();
    return frame;
}

/* Reads what the Verifier has passed. Offsets of different parents may still name the same child: the count of structs
 * is bounded by the Verifier's max_tables (it counts visits), and `numbers_size` bounds the copies of number arrays. */
struct Decoder {
    struct arena *arena;
    size_t numbers_size; /* how many bytes of numbers may still be copied */
    bool corrupt;

    uint64_t *numbers(const Vector<uint64_t> *in, uint32_t *ret_count)
    {
        *ret_count = 0;
        if (!in || in->size() == 0)
            return nullptr;
        size_t size = size_t{in->size()} * sizeof(uint64_t);
        if (size > numbers_size) {
            corrupt = true;
            return nullptr;
        }
        numbers_size -= size;
        auto numbers = static_cast<uint64_t *>(arena_alloc(arena, size));
        /* Not in->Get(i): the Verifier of FlatBuffers 2.0.8 does not ask that elements of 8 bytes be aligned. */
        std::memcpy(numbers, in->Data(), size);
        for (uint32_t i = 0; i < in->size(); i++)
            numbers[i] = flatbuffers::EndianScalar(numbers[i]);
        *ret_count = in->size();
        return numbers;
    }

    template <typename S, typename T> S *table(const T *in, void (*get)(Decoder &, const T &, S *))
    {
        if (!in)
            return nullptr;
        auto item = static_cast<S *>(arena_alloc(arena, sizeof(S)));
        get(*this, *in, item);
        return item;
    }

    template <typename S, typename T>
    S *tables(const Vector<Offset<T>> *in, uint32_t *ret_count, void (*get)(Decoder &, const T &, S *))
    {
        *ret_count = 0;
        if (!in || in->size() == 0)
            return nullptr;
        auto items = static_cast<S *>(arena_alloc(arena, in->size() * sizeof(S)));
        for (uint32_t i = 0; i < in->size(); i++)
            get(*this, *in->Get(i), &items[i]);
        *ret_count = in->size();
        return items;
    }
};

/* A present but empty vector points at its own end: not NULL. */
template <typename V> struct bytes view(const V *in)
{
    return in ? bytes_of(in->Data(), in->size()) : bytes_empty();
}

/* A table and the offset that leads to it take 8 bytes at least, so honest bytes never have more than size / 8. */
inline flatbuffers::uoffset_t tables_max(size_t size)
{
    return static_cast<flatbuffers::uoffset_t>(std::min(size / 8, TABLE_COUNT_MAX));
}

template <typename T, typename S>
enum err decode(struct bytes in, struct arena *arena, void (*get)(Decoder &, const T &, S *), S *ret)
{
    std::memset(ret, 0, sizeof *ret);
    if (in.size < 8 || in.size > MESSAGE_SIZE_MAX)
        return ERR_CORRUPT;
    if (reinterpret_cast<uintptr_t>(in.data) % 8 != 0)
        in = arena_copy(arena, in);
    flatbuffers::Verifier verifier(in.data, in.size, DEPTH_MAX, tables_max(in.size));
    if (!verifier.VerifyBuffer<T>(nullptr))
        return ERR_CORRUPT;
    Decoder decoder = {arena, in.size, false};
    get(decoder, *flatbuffers::GetRoot<T>(in.data), ret);
    if (decoder.corrupt) {
        std::memset(ret, 0, sizeof *ret);
        return ERR_CORRUPT;
    }
    return ERR_OK;
}

} // namespace codec

#endif
