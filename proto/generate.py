"""Writes the C side of the wire format from the schema's reflection file.

    generate.py wire.bfbs OUTPUT_DIRECTORY

`flatc --schema --binary` turns the .fbs files into wire.bfbs (itself a FlatBuffer, of the schema reflection.fbs). From it:

    wire.h          plain C structs, enum constants, encode/decode functions: what everybody includes
    wire.cc         the conversions between those structs and flatc's own C++ classes
    wire_random.h   for tests: random contents, deep comparison, a table of all tables
    wire_random.c

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
    return re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name.rsplit('.', 1)[-1]).lower()


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
        self.enum = None    # C++ type of an enum
        if base in SCALARS:
            self.shape, self.ctype = 'scalar', SCALARS[base]
            if index >= 0:
                self.enum = schema.enums[index].cpp
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
        self.cpp = '::' + self.full.replace('.', '::')
        self.snake = snake(self.full)
        self.c = 'wire_' + self.snake
        if node.flag(OBJECT_IS_STRUCT):
            refuse(f'{self.full}: fixed structs cannot grow, use a table')
        fields = sorted((Field(f, schema, self.full) for f in node.children(OBJECT_FIELDS)), key=lambda f: f.id)
        self.fields = [f for f in fields if not f.deprecated]


class Enum:
    def __init__(self, node):
        self.full = node.text(ENUM_NAME)
        if node.flag(ENUM_IS_UNION):
            refuse(f'{self.full}: no unions')
        self.cpp = '::' + self.full.replace('.', '::')
        self.c = 'wire_' + snake(self.full)
        self.values = [(v.text(ENUMVAL_NAME), v.number(ENUMVAL_VALUE, number_types.Int64Flags))
                       for v in node.children(ENUM_VALUES)]


class Schema:
    def __init__(self, data):
        root = Node(data, encode.Get(flatbuffers.packer.uoffset, data, 0))
        self.enums = [Enum(node) for node in root.children(SCHEMA_ENUMS)]
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


NOTICE = '/* Generated by proto/generate.py from the schemas. Do not edit. */\n'

HEADER = '''/* wire: every byte that leaves a process, as plain C structs.
 *
 * For every table of the schemas (proto, .fbs) there is a struct and three functions:
 *
 *   wire_encode_x  writes one FlatBuffer into `out` (what was in there is replaced). ERR_ENTRY_TOO_LARGE when it does not
 *                  fit into out->size_max (nor into WIRE_SIZE_MAX), or has more tables than a reader would accept.
 *   wire_frame_x   the same, into a new frame of that kind. NULL when larger than FRAME_SIZE_MAX.
 *   wire_decode_x  verifies `in` (hostile bytes are expected), then fills *ret. ERR_CORRUPT: not such a message, *ret is
 *                  all zero. `struct bytes` in *ret borrow from `in`; arrays and sub-structs live in `arena`. If `in` is
 *                  not 8-byte aligned it is copied into the arena first (frames and heap blocks are aligned).
 *
 * bytes: data NULL is absent; data not NULL and size 0 is present but empty; both directions. Strings are bytes too, and
 * not zero-terminated by contract. Arrays: absent and empty are the same (count 0, NULL). Sub-structs: NULL is absent.
 * Enum fields are uint8_t: a newer sender may use a number that has no constant here.
 * Fields that the sender did not know are 0 / absent; fields that we do not know are ignored.
 *
 * Memory of a decode is bounded: at most in.size / 8 structs and in.size bytes of numbers, whatever the offsets say.
 * Threads: any. */
'''


def write_header(schema):
    out = [NOTICE, HEADER, '#ifndef PROTO_WIRE_H\n#define PROTO_WIRE_H\n\n#include <stdbool.h>\n#include <stdint.h>\n\n'
           '#include "base/arena.h"\n#include "base/buf.h"\n#include "base/bytes.h"\n#include "base/error.h"\n'
           '#include "env/transport.h"\n\n'
           'enum {\n    WIRE_SIZE_MAX = 1 << 30, /* of one encoded message */\n'
           '    WIRE_TABLE_COUNT_MAX = 1000000, /* of one encoded message */\n};\n']
    for item in schema.enums:
        prefix = item.c.upper()
        values = ''.join(f'    {prefix}_{name.upper()} = {value},\n' for name, value in item.values)
        out.append(f'\nenum {item.c} {{\n{values}}};\n')
    for item in schema.objects:
        out.append(f'\nstruct {item.c} {{\n')
        for field in item.fields:
            pointer = '*' if field.shape in ('table', 'tables', 'numbers') else ''
            note = f' /* enum wire_{snake(field.enum.rsplit("::", 1)[1])} */' if field.enum else ''
            out.append(f'    {field.ctype} {pointer}{field.name};{note}\n')
            if field.shape in ('tables', 'numbers'):
                out.append(f'    uint32_t {field.name}_count;\n')
        out.append('};\n')
        out.append(f'enum err wire_encode_{item.snake}(const struct {item.c} *in, struct buf *out);\n')
        out.append(f'struct frame *wire_frame_{item.snake}(uint16_t kind, const struct {item.c} *in);\n')
        out.append(f'enum err wire_decode_{item.snake}(struct bytes in, struct arena *arena, struct {item.c} *ret);\n')
    out.append('\n#endif\n')
    return ''.join(out)


def encode_field(field):
    value = f'in.{field.name}'
    return {'scalar': f'static_cast<{field.enum}>({value})' if field.enum else value,
            'bytes': f'encoder.bytes({value})',
            'string': f'encoder.string({value})',
            'numbers': f'encoder.numbers({value}, {value}_count)',
            'table': f'{value} ? put(encoder, *{value}) : 0',
            'tables': f'encoder.tables<{field.target and field.target.cpp}>({value}, {value}_count, put)'}[field.shape]


def decode_field(field):
    to, value = f'ret->{field.name}', f'in.{field.name}()'
    return {'scalar': f'{to} = static_cast<{field.ctype}>({value});' if field.enum else f'{to} = {value};',
            'bytes': f'{to} = view({value});',
            'string': f'{to} = view({value});',
            'numbers': f'{to} = decoder.numbers({value}, &{to}_count);',
            'table': f'{to} = decoder.table<{field.ctype}>({value}, get);',
            'tables': f'{to} = decoder.tables<{field.ctype}>({value}, &{to}_count, get);'}[field.shape]


def write_source(schema):
    out = [NOTICE, '#include "proto/codec.hh"\n#include "wire_generated.h"\n\n'
           'using codec::Decoder;\nusing codec::Encoder;\nusing codec::view;\n']
    for item in schema.objects:
        # Children first, because the builder makes one object at a time; named, because C++ leaves the order of arguments open.
        children = [f for f in item.fields if f.shape != 'scalar']
        out.append(f'\nstatic flatbuffers::Offset<{item.cpp}> put(Encoder &encoder, const {item.c} &in)\n{{\n'
                   '    encoder.count_table();\n')
        out += [f'    auto {f.name} = {fix_null(f)};\n' for f in children]
        arguments = ''.join(', ' + (f.name if f in children else encode_field(f)) for f in item.fields)
        out.append(f'    if (encoder.too_large)\n        return 0;\n')
        out.append(f'    return {item.cpp.replace("::wire::", "::wire::Create")}(encoder.builder{arguments});\n}}\n')
        used = any(f.shape in ('table', 'tables', 'numbers') for f in item.fields)
        out.append(f'\nstatic void get(Decoder &{"decoder" if used else ""}, const {item.cpp} &in, {item.c} *ret)\n{{\n')
        out += [f'    {decode_field(f)}\n' for f in item.fields]
        out.append('}\n')
        out.append(f'''
extern "C" enum err wire_encode_{item.snake}(const {item.c} *in, struct buf *out)
{{
    return codec::encode<{item.cpp}>(*in, put, out);
}}

extern "C" struct frame *wire_frame_{item.snake}(uint16_t kind, const {item.c} *in)
{{
    return codec::encode_frame<{item.cpp}>(kind, *in, put);
}}

extern "C" enum err wire_decode_{item.snake}(struct bytes in, struct arena *arena, {item.c} *ret)
{{
    return codec::decode<{item.cpp}>(in, arena, get, ret);
}}
''')
    return ''.join(out)


def fix_null(field):
    if field.shape == 'table':
        return f'in.{field.name} ? put(encoder, *in.{field.name}) : flatbuffers::Offset<{field.target.cpp}>()'
    return encode_field(field)


def main():
    data = pathlib.Path(sys.argv[1]).read_bytes()
    target = pathlib.Path(sys.argv[2])
    schema = Schema(bytearray(data))
    for name, write in (('wire.h', write_header), ('wire.cc', write_source)):
        (target / name).write_text(write(schema))


main()
