#!/usr/bin/env python3
"""Write src/model/unicode_data.h: the character classes that split rules speak of.

    pip install unicodedata2==16.0.0
    python3 tests/golden/make_unicode.py > src/model/unicode_data.h

The version is that of the regular expression engine and of the standard library which
the pinned tokenizers package is built with (tests/golden/tokenizer/compare.py checks every
code point against it).  A letter is \\p{L}, a number \\p{N}, a space \\s, that is White_Space.
"""

import sys

import unicodedata2

VERSION = "16.0.0"
OTHER, LETTER, NUMBER, SPACE = range(4)
NEWLINE = 4                     # CR and LF, a part of \s that rules name apart; ASCII only

# White_Space is not in unicodedata; it has not changed since Unicode 6.3.
WHITE_SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B),
               0x2028, 0x2029, 0x202F, 0x205F, 0x3000}


def char_class(cp):
    if cp in WHITE_SPACE:
        return SPACE
    return {"L": LETTER, "N": NUMBER}.get(unicodedata2.category(chr(cp))[0], OTHER)


def rows(items, per_row):
    for i in range(0, len(items), per_row):
        yield "\t" + ", ".join(items[i:i + per_row]) + ","


def main():
    if unicodedata2.unidata_version != VERSION:
        sys.exit(f"unicodedata2 is of Unicode {unicodedata2.unidata_version}, not {VERSION}")
    ascii_classes = [NEWLINE if cp in (0x0A, 0x0D) else char_class(cp) for cp in range(0x80)]
    starts = []
    previous = None
    for cp in range(0x80, 0x110000):
        current = char_class(cp)
        if current != previous:
            starts.append(f"{cp << 2 | current:#x}")
            previous = current
    print(f"""/*
 * unicode_data.h
 *	  Character classes of Unicode {VERSION}: written by tests/golden/make_unicode.py.
 */
#ifndef IE_UNICODE_DATA_H
#define IE_UNICODE_DATA_H

#include <stdint.h>

/* ie_char_class as a bit number, by ASCII character */
static const uint8_t ascii_classes[0x80] = {{""")
    print("\n".join(rows([str(c) for c in ascii_classes], 32)))
    print("""};

/*
 * The other characters as runs of one class: the run's first code point << 2 |
 * class as a bit number, ascending, from U+0080 on.
 */
static const uint32_t class_runs[] = {""")
    print("\n".join(rows(starts, 10)))
    print("""};

#endif							/* IE_UNICODE_DATA_H */""")


if __name__ == "__main__":
    main()
