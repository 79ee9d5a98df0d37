"""Writes the C side of the wire format from the schema's reflection file.

    generate.py code wire.bfbs OUTPUT_DIRECTORY
        wire.h         plain C structs, enum constants, encode/decode functions: what everybody includes
        wire.cc        the conversions between those structs and flatc's own C++ classes
    generate.py random wire.bfbs OUTPUT_DIRECTORY
        wire_random.h  for tests: random contents, deep comparison, a table of all tables
        wire_random.c

`flatc --schema --binary` turns the .fbs files into wire.bfbs (itself a FlatBuffer, of the schema reflection.fbs). The name
of the .bfbs file is the schema's namespace and the prefix of all C names.

Debian's python3-flatbuffers has no classes for reflection.fbs, so its few tables are read by field number here. A schema
that uses what the mapping does not know (unions, fixed structs, signed or real numbers, defaults other than 0) is refused.
"""
import pathlib
import re
import sys

import flatbuffers
from flatbuffers import encode, number_types
from flatbuffers.table import Table

# reflection.fbs: field numbers of the tables that are read here.
TYPE_BASE, TYPE_ELEMENT, TYPE_INDEX = 0, 1, 2
ENUMVAL_NAME, ENUMVAL_VALUE = 0, 1
ENUM_NAME, ENUM_VALUES, ENUM_IS_UNION = 0, 1, 2
FIELD_NAME, FIELD_TYPE, FIELD_ID, FIELD_DEFAULT, FIELD_REAL, FIELD_DEPRECATED = 0, 1, 2, 4, 5, 6
FIELD_REQUIRED, FIELD_OPTIONAL = 7, 11
OBJECT_NAME, OBJECT_FIELDS, OBJECT_IS_STRUCT = 0, 1, 2
SCHEMA_OBJECTS, SCHEMA_ENUMS = 0, 1

# reflection.BaseType
BOOL, UBYTE, USHORT, UINT, ULONG, STRING, VECTOR, OBJECT = 2, 4, 6, 8, 10, 13, 14, 15
SCALARS = {BOOL: 'bool', UBYTE: 'uint8_t', USHORT: 'uint16_t', UINT: 'uint32_t', ULONG: 'uint64_t'}

DEPTH_MAX = 16  # as in codec.hh

KEYWORDS = set('''alignas alignof and asm auto bool break case catch char class const constexpr continue default delete do
double else enum explicit export extern false float for friend goto if inline int long mutable namespace new noexcept not
operator or private protected public register restrict return short signed sizeof static struct switch template this throw
true try typedef typeid typename union unsigned using virtual void volatile while xor'''.split())


def refuse(text):
    sys.exit('generate.py: ' + text)


class Node:
    """A table of the reflection file, read by field number."""

    def __init__(self, data, position):
        self.table = Table(data, position)

    def number(self, field, flags, default=0):
        offset = self.table.Offset(4 + 2 * field)
        return self.table.Get(flags, self.table.Pos + offset) if offset else default

    def flag(self, field):
        return bool(self.number(field, number_types.Uint8Flags))

    def text(self, field):
        return self.table.String(self.table.Pos + self.table.Offset(4 + 2 * field)).decode()

    def child(self, field):
        return Node(self.table.Bytes, self.table.Indirect(self.table.Pos + self.table.Offset(4 + 2 * field)))

    def children(self, field):
        offset = self.table.Offset(4 + 2 * field)
        if not offset:
            return []
        start, count = self.table.Vector(offset), self.table.VectorLen(offset)
        return [Node(self.table.Bytes, self.table.Indirect(start + 4 * i)) for i in range(count)]


def snake(name):
    return re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name).lower()


class Field:
    def __init__(self, node, schema, where):
        self.name = node.text(FIELD_NAME)
        self.id = node.number(FIELD_ID, number_types.Uint16Flags)
        self.deprecated = node.flag(FIELD_DEPRECATED)
        where = f'{where}.{self.name}'
        kind = node.child(FIELD_TYPE)
        base = kind.number(TYPE_BASE, number_types.Int8Flags)
        element = kind.number(TYPE_ELEMENT, number_types.Int8Flags)
        index = kind.number(TYPE_INDEX, number_types.Int32Flags, -1)
        if node.number(FIELD_DEFAULT, number_types.Int64Flags) != 0:
            refuse(f'{where}: a default other than 0 cannot be told from absent')
        if node.flag(FIELD_REQUIRED):
            refuse(f'{where}: required fields make messages of other versions unreadable')
        if base in SCALARS and node.flag(FIELD_OPTIONAL):
            refuse(f'{where}: a number cannot be absent in C')
        if self.name in KEYWORDS:
            refuse(f'{where}: a keyword of C or C++')
        self.target = None  # Object of a sub-table or of a vector's elements
        self.enum = None
        if base in SCALARS:
            self.shape, self.ctype = 'scalar', SCALARS[base]
            if index >= 0:
                self.enum = schema.enums[index]
                if base != UBYTE:
                    refuse(f'{where}: enums are ubyte')
        elif base == STRING or (base == VECTOR and element == UBYTE and index < 0):
            self.shape, self.ctype = 'string' if base == STRING else 'bytes', 'struct bytes'
        elif base == OBJECT:
            self.shape, self.target = 'table', index
        elif base == VECTOR and element == OBJECT:
            self.shape, self.target = 'tables', index
        elif base == VECTOR and element == ULONG:
            self.shape, self.ctype = 'numbers', 'uint64_t'
        else:
            refuse(f'{where}: a type without a mapping (base type {base}, element {element})')


class Object:
    def __init__(self, node, schema):
        self.full = node.text(OBJECT_NAME)
        self.name = schema.local_name(self.full)
        self.cpp = f'{schema.prefix}::{self.name}'
        self.snake = snake(self.name)
        self.c = f'{schema.prefix}_{self.snake}'
        if node.flag(OBJECT_IS_STRUCT):
            refuse(f'{self.full}: fixed structs cannot grow, use a table')
        fields = sorted((Field(f, schema, self.full) for f in node.children(OBJECT_FIELDS)), key=lambda f: f.id)
        self.fields = [f for f in fields if not f.deprecated]


class Enum:
    def __init__(self, node, schema):
        self.full = node.text(ENUM_NAME)
        if node.flag(ENUM_IS_UNION):
            refuse(f'{self.full}: no unions')
        name = schema.local_name(self.full)
        self.cpp = f'{schema.prefix}::{name}'
        self.c = f'{schema.prefix}_{snake(name)}'
        self.values = [(v.text(ENUMVAL_NAME), v.number(ENUMVAL_VALUE, number_types.Int64Flags))
                       for v in node.children(ENUM_VALUES)]


class Schema:
    def __init__(self, data, prefix):
        self.prefix = prefix
        root = Node(data, encode.Get(flatbuffers.packer.uoffset, data, 0))
        self.enums = [Enum(node, self) for node in root.children(SCHEMA_ENUMS)]
        self.objects = [Object(node, self) for node in root.children(SCHEMA_OBJECTS)]
        for item in self.objects:
            for field in item.fields:
                if field.target is not None:
                    field.target = self.objects[field.target]
                    field.ctype = 'struct ' + field.target.c
        for item in self.objects:
            if self.depth(item, ()) > DEPTH_MAX:
                refuse(f'{item.full}: nested deeper than {DEPTH_MAX}')
        self.objects = self.children_first()

    def local_name(self, full):
        namespace, _, name = full.rpartition('.')
        if namespace != self.prefix:
            refuse(f'{full}: not in namespace {self.prefix}')
        return name

    def depth(self, item, path):
        if item in path:
            refuse(f'{item.full}: contains itself; decoding would recurse as deep as the sender likes')
        return 1 + max((self.depth(f.target, path + (item,)) for f in item.fields if f.target), default=0)

    def children_first(self):
        order = []

        def visit(item):
            for field in item.fields:
                if field.target:
                    visit(field.target)
            if item not in order:
                order.append(item)
        for item in self.objects:
            visit(item)
        return order


NOTICE = '/* Generated by proto/generate.py from the schemas. Do not edit. */'

HEADER = """\
%(notice)s
/* %(prefix)s: every byte that leaves a process, as plain C structs.
 *
 * For every table of the schemas (.fbs) there is a struct and three functions:
 *
 *   %(prefix)s_encode_x  writes one FlatBuffer into `out` (what was in there is replaced). ERR_ENTRY_TOO_LARGE when it
 *                  does not fit into out->size_max (1 GiB at most), or has more tables than a reader would accept: a million.
 *   %(prefix)s_frame_x   the same, into a new frame of that kind. NULL when larger than FRAME_SIZE_MAX.
 *   %(prefix)s_decode_x  verifies `in` (hostile bytes are expected), then fills *ret. ERR_CORRUPT: not such a message, *ret
 *                  is all zero. `struct bytes` in *ret borrow from `in`; arrays and sub-structs live in `arena`. If `in` is
 *                  not 8-byte aligned it is copied into the arena first (frames and heap blocks are aligned).
 *
 * bytes: data NULL is absent; data not NULL and size 0 is present but empty; in both directions. Strings are bytes too, and
 * not zero-terminated by contract. Arrays: absent and empty are the same (count 0, NULL). Sub-structs: NULL is absent.
 * Enum fields are uint8_t: a newer sender may use a number that has no constant here.
 * Fields that the sender did not know are 0 / absent; fields that we do not know are ignored.
 *
 * Memory of a decode is bounded: at most in.size / 8 structs and in.size bytes of numbers, whatever the offsets say.
 * Equal structs encode to equal bytes. Threads: any. */
#ifndef PROTO_%(guard)s_H
#define PROTO_%(guard)s_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/error.h"
#include "env/transport.h"
"""

STRUCT = """
struct %(c)s {
%(fields)s};
enum err %(p)s_encode_%(snake)s(const struct %(c)s *in, struct buf *out);
struct frame *%(p)s_frame_%(snake)s(uint16_t kind, const struct %(c)s *in);
enum err %(p)s_decode_%(snake)s(struct bytes in, struct arena *arena, struct %(c)s *ret);
"""


def write_header(schema):
    out = [HEADER % {'notice': NOTICE, 'prefix': schema.prefix, 'guard': schema.prefix.upper()}]
    for item in schema.enums:
        values = ''.join(f'    {item.c.upper()}_{name.upper()} = {value},\n' for name, value in item.values)
        out.append(f'\nenum {item.c} {{\n{values}}};\n')
    for item in schema.objects:
        fields = ''
        for field in item.fields:
            pointer = '*' if field.shape in ('table', 'tables', 'numbers') else ''
            note = f' /* enum {field.enum.c} */' if field.enum else ''
            fields += f'    {field.ctype} {pointer}{field.name};{note}\n'
            if field.shape in ('tables', 'numbers'):
                fields += f'    uint32_t {field.name}_count;\n'
        out.append(STRUCT % {'c': item.c, 'p': schema.prefix, 'snake': item.snake, 'fields': fields})
    out.append('\n#endif\n')
    return ''.join(out)


SOURCE = """\
%(notice)s
#include "proto/codec.hh"

extern "C" {
#include "%(prefix)s.h"
}
#include "%(prefix)s_generated.h"

using codec::Decoder;
using codec::Encoder;
using codec::view;
using flatbuffers::Offset;
"""

CONVERSION = """
static Offset<%(cpp)s> put(Encoder &encoder, const %(c)s &in)
{
    encoder.count_table();
%(children)s    if (encoder.too_large)
        return 0;
    return %(create)s(encoder.builder%(arguments)s);
}

static void get(Decoder &%(decoder)s, const %(cpp)s &in, %(c)s *ret)
{
%(gets)s}

extern "C" enum err %(p)s_encode_%(snake)s(const %(c)s *in, struct buf *out)
{
    return codec::encode<%(cpp)s>(*in, put, out);
}

extern "C" struct frame *%(p)s_frame_%(snake)s(uint16_t kind, const %(c)s *in)
{
    return codec::encode_frame<%(cpp)s>(kind, *in, put);
}

extern "C" enum err %(p)s_decode_%(snake)s(struct bytes in, struct arena *arena, %(c)s *ret)
{
    return codec::decode<%(cpp)s>(in, arena, get, ret);
}
"""


def put_field(field):
    value, target = f'in.{field.name}', field.target and field.target.cpp
    return {'scalar': f'static_cast<{field.enum and field.enum.cpp}>({value})' if field.enum else value,
            'bytes': f'encoder.bytes({value})',
            'string': f'encoder.string({value})',
            'numbers': f'encoder.numbers({value}, {value}_count)',
            'table': f'{value} ? put(encoder, *{value}) : Offset<{target}>()',
            'tables': f'encoder.tables<{target}>({value}, {value}_count, put)'}[field.shape]


def get_field(field):
    to, value = f'ret->{field.name}', f'in.{field.name}()'
    return {'scalar': f'{to} = static_cast<{field.ctype}>({value});' if field.enum else f'{to} = {value};',
            'bytes': f'{to} = view({value});',
            'string': f'{to} = view({value});',
            'numbers': f'{to} = decoder.numbers({value}, &{to}_count);',
            'table': f'{to} = decoder.table<{field.ctype}>({value}, get);',
            'tables': f'{to} = decoder.tables<{field.ctype}>({value}, &{to}_count, get);'}[field.shape]


def write_source(schema):
    out = [SOURCE % {'notice': NOTICE, 'prefix': schema.prefix}]
    for item in schema.objects:
        # Children come first, because the builder makes one object at a time, and one by one, because C++ leaves the order of
        # arguments open and equal structs shall give equal bytes.
        children = [f for f in item.fields if f.shape != 'scalar']
        arguments = [f'{f.name}_' if f in children else put_field(f) for f in item.fields]
        out.append(CONVERSION % {
            'cpp': item.cpp, 'c': item.c, 'snake': item.snake, 'p': schema.prefix,
            'create': f'{schema.prefix}::Create{item.name}',
            'children': ''.join(f'    auto {f.name}_ = {put_field(f)};\n' for f in children),
            'arguments': ''.join(f', {a}' for a in arguments),
            'decoder': 'decoder' if any(f.shape in ('table', 'tables', 'numbers') for f in item.fields) else '',
            'gets': ''.join(f'    {get_field(f)}\n' for f in item.fields)})
    return ''.join(out)


RANDOM_HEADER = """\
%(notice)s
/* %(p)s_random: for tests. Random contents of every table, deep comparison, and a table of all tables. */
#ifndef PROTO_%(guard)s_RANDOM_H
#define PROTO_%(guard)s_RANDOM_H

#include "base/rng.h"
#include "%(p)s.h"

struct %(p)s_root {
    const char *name; /* "kv_request" */
    size_t size;      /* of the struct; `in` and `ret` below point to one */
    enum err (*encode)(const void *in, struct buf *out);
    struct frame *(*frame)(uint16_t kind, const void *in);
    enum err (*decode)(struct bytes in, struct arena *arena, void *ret);
    /* Fields are 0, at their limit or anything; bytes absent, empty or short; arrays of up to 3. Lives in the arena. */
    void (*random)(struct rng *rng, struct arena *arena, void *ret);
    bool (*equal)(const void *a, const void *b); /* absent and empty bytes differ */
};
extern const struct %(p)s_root %(p)s_roots[];
extern const uint32_t %(p)s_root_count;

#endif
"""

RANDOM_SOURCE = """\
%(notice)s
#include "%(p)s_random.h"

static uint64_t random_number(struct rng *rng, uint64_t limit)
{
    uint64_t number = rng_next(rng) & limit;
    return rng_chance(rng, 1, 3) ? 0 : rng_chance(rng, 1, 8) ? limit : number;
}

static struct bytes random_bytes(struct rng *rng, struct arena *arena)
{
    if (rng_chance(rng, 1, 3))
        return bytes_empty();
    size_t size = rng_chance(rng, 1, 4) ? 0 : rng_below(rng, 40);
    uint8_t *data = arena_alloc(arena, size + 1);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)rng_next(rng);
    return bytes_of(data, size);
}

static uint64_t *random_numbers(struct rng *rng, struct arena *arena, uint32_t *ret_count)
{
    *ret_count = (uint32_t)rng_below(rng, 4);
    uint64_t *numbers = *ret_count ? arena_alloc(arena, *ret_count * sizeof *numbers) : NULL;
    for (uint32_t i = 0; i < *ret_count; i++)
        numbers[i] = random_number(rng, UINT64_MAX);
    return numbers;
}

static bool same_bytes(struct bytes a, struct bytes b)
{
    return !a.data == !b.data && bytes_equal(a, b);
}

static bool same_numbers(const uint64_t *a, uint32_t a_count, const uint64_t *b, uint32_t b_count)
{
    return a_count == b_count && (a_count == 0 || memcmp(a, b, a_count * sizeof *a) == 0);
}
"""

RANDOM_TABLE = """
static void random_%(snake)s(struct rng *rng, struct arena *arena, void *ret)
{
    struct %(c)s *out = ret;
    (void)arena;
%(randoms)s}

static bool equal_%(snake)s(const void *a, const void *b)
{
    const struct %(c)s *x = a, *y = b;
%(equals)s    return true;
}

static enum err encode_%(snake)s(const void *in, struct buf *out)
{
    return %(p)s_encode_%(snake)s(in, out);
}

static struct frame *frame_%(snake)s(uint16_t kind, const void *in)
{
    return %(p)s_frame_%(snake)s(kind, in);
}

static enum err decode_%(snake)s(struct bytes in, struct arena *arena, void *ret)
{
    return %(p)s_decode_%(snake)s(in, arena, ret);
}
"""

LIMITS = {'bool': '1', 'uint8_t': 'UINT8_MAX', 'uint16_t': 'UINT16_MAX', 'uint32_t': 'UINT32_MAX',
          'uint64_t': 'UINT64_MAX'}


def random_field(field):
    to, target = f'out->{field.name}', field.target and field.target.snake
    return {'scalar': f'    {to} = ({field.ctype})random_number(rng, {LIMITS.get(field.ctype)});\n',
            'bytes': f'    {to} = random_bytes(rng, arena);\n',
            'string': f'    {to} = random_bytes(rng, arena);\n',
            'numbers': f'    {to} = random_numbers(rng, arena, &{to}_count);\n',
            'table': f'    {to} = rng_chance(rng, 1, 3) ? NULL : arena_alloc(arena, sizeof *{to});\n'
                     f'    if ({to})\n        random_{target}(rng, arena, {to});\n',
            'tables': f'    {to}_count = (uint32_t)rng_below(rng, 4);\n'
                      f'    {to} = {to}_count ? arena_alloc(arena, {to}_count * sizeof *{to}) : NULL;\n'
                      f'    for (uint32_t i = 0; i < {to}_count; i++)\n'
                      f'        random_{target}(rng, arena, &{to}[i]);\n'}[field.shape]


def equal_field(field):
    a, b, target = f'x->{field.name}', f'y->{field.name}', field.target and field.target.snake
    differ = {'scalar': f'{a} != {b}',
              'bytes': f'!same_bytes({a}, {b})',
              'string': f'!same_bytes({a}, {b})',
              'numbers': f'!same_numbers({a}, {a}_count, {b}, {b}_count)',
              'table': f'!{a} != !{b} || ({a} && !equal_{target}({a}, {b}))',
              'tables': f'{a}_count != {b}_count'}[field.shape]
    loop = f'    for (uint32_t i = 0; i < {a}_count; i++) {{\n        if (!equal_{target}(&{a}[i], &{b}[i]))\n' \
           '            return false;\n    }\n' if field.shape == 'tables' else ''
    return f'    if ({differ})\n        return false;\n{loop}'


def write_random_header(schema):
    return RANDOM_HEADER % {'notice': NOTICE, 'p': schema.prefix, 'guard': schema.prefix.upper()}


def write_random_source(schema):
    out = [RANDOM_SOURCE % {'notice': NOTICE, 'p': schema.prefix}]
    for item in schema.objects:
        out.append(RANDOM_TABLE % {'p': schema.prefix, 'c': item.c, 'snake': item.snake,
                                   'randoms': ''.join(map(random_field, item.fields)),
                                   'equals': ''.join(map(equal_field, item.fields))})
    rows = ''.join(f'    {{"{i.snake}", sizeof(struct {i.c}), encode_{i.snake}, frame_{i.snake}, decode_{i.snake},\n'
                   f'     random_{i.snake}, equal_{i.snake}}},\n' for i in schema.objects)
    out.append(f'\nconst struct {schema.prefix}_root {schema.prefix}_roots[] = {{\n{rows}}};\n'
               f'const uint32_t {schema.prefix}_root_count = {len(schema.objects)};\n')
    return ''.join(out)


def main():
    what, source, target = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    schema = Schema(bytearray(source.read_bytes()), source.stem)
    writers = {'code': {'.h': write_header, '.cc': write_source},
               'random': {'_random.h': write_random_header, '_random.c': write_random_source}}[what]
    for suffix, write in writers.items():
        (target / (schema.prefix + suffix)).write_text(write(schema))


main()
