"""A second opinion: another verifier, written from docs/format.md, that shares no line with the gateway.
`python tests/second_opinion.py RECEIPT POLICY` says what it thinks. Any exception of FAULTS means refused."""

import base64
import hashlib
import re
import struct
import sys
from pathlib import Path

from nacl import exceptions, signing

MOST = 2**53 - 1
NAME = re.compile(r"[^\s+\x00-\x1f]{1,255}")
FAULTS = (ValueError, LookupError, TypeError, AttributeError, struct.error, exceptions.BadSignatureError)


def need(condition, why):
    if not condition:
        raise ValueError(why)


def cbor(data):
    value, end = item(data, 0, 1)
    need(end == len(data), "bytes after the CBOR item")
    return value


def item(data, at, depth):
    major, info = data[at] >> 5, data[at] & 31
    width = 1 << info - 24 if info > 23 else 0
    need(major != 6 and info < 28 and at + width < len(data), "a tag, or a head cut short")
    n, at = int.from_bytes(data[at + 1 : at + 1 + width], "big") if width else info, at + 1 + width
    if major == 7 and width < 2:
        return {20: False, 21: True}[info], at
    if major == 7:
        real = struct.unpack({2: ">e", 4: ">f", 8: ">d"}[width], data[at - width : at])[0]
        need(abs(real) < float("inf") and not (real.is_integer() and abs(real) <= MOST), "no such number")
        shorter = [code for code, most in [(">e", 65504), (">f", 2**128 - 2**104)][: info - 25] if abs(real) <= most]
        need(all(struct.unpack(code, struct.pack(code, real))[0] != real for code in shorter), "no shortest form")
        return real, at
    need(not width or n >= (24, 1 << 8, 1 << 16, 1 << 32)[info - 24], "no shortest form")
    if major < 2:
        need(n + major <= MOST, "a large integer")
        return (~n if major else n), at
    need(n <= len(data) - at and (major < 4 or depth <= 8), "a length past the end, or nested too deep")
    if major < 4:
        return (data[at : at + n] if major == 2 else data[at : at + n].decode()), at + n
    found, ends = [], [at]
    for _ in range(n * (major - 3)):
        value, at = item(data, at, depth + 1)
        found.append(value)
        ends.append(at)
    if major == 5:
        keys = [data[a:b] for a, b in zip(ends[::2], ends[1::2], strict=False)]
        need(keys == sorted(set(keys)) and {type(key) for key in found[::2]} <= {int, str, bytes}, "a map's keys")
    return found if major == 4 else dict(zip(found[::2], found[1::2], strict=True)), at


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def climb(leaf, index, size, path):  # RFC 9162 from the root down
    need(0 <= index < size and bool(path) == (size > 1), "a path of another length")
    half = 1 << (size - 1).bit_length() - 1 if path else 0
    if path and index < half:
        return sha(b"\1", climb(leaf, index, half, path[:-1]), path[-1])
    return sha(b"\1", path[-1], climb(leaf, index - half, size - half, path[:-1])) if path else leaf


def both(old, new, path, known):  # the old and the new root, from a consistency path; `known` is the old root
    need(len(path) == (known is None) if old == new else path, "a path of another length")
    if old == new:
        return (known or path[0],) * 2
    half = 1 << (new - 1).bit_length() - 1
    if old > half:
        return tuple(sha(b"\1", path[-1], it) for it in both(old - half, new - half, path[:-1], None))
    was, now = both(old, half, path[:-1], known)
    return was, sha(b"\1", now, path[-1])


def b64(text):
    data = base64.b64decode(text.encode("ascii"), validate=True)
    need(data and base64.b64encode(data).decode() == text, "no canonical base64")
    return data


def vkey(text, algorithm):
    name, identity, encoded = text.split("+", 2)
    raw = b64(encoded)
    need(NAME.fullmatch(name) and len(raw) == 33 and raw[0] == algorithm, "no key of that kind")
    need(sha(name.encode(), b"\n", raw)[:4].hex() == identity, "a false key id")
    return (name, bytes.fromhex(identity)), raw[1:]


def note(data):  # section 5: the text, and [((name, key id), signature)]
    text, blank, lines = data.decode().rpartition("\n\n")
    need(blank and lines.endswith("\n") and len(data) <= 65536 and lines.count("\n") <= 16, "no note")
    need(not re.search(r"[\x00-\x09\x0b-\x1f]", text + lines), "a control character")
    parts = [line.split(" ") for line in lines[:-1].split("\n")]
    need(all(dash == "—" and NAME.fullmatch(name) and len(b64(raw)) > 4 for dash, name, raw in parts), "no signature")
    return text + "\n", [((name, b64(raw)[:4]), b64(raw)[4:]) for _, name, raw in parts]


def policy(data, text, lines):  # {a log's public key: (name, id)}, and the times of co-signatures that are enough
    keys, names, free, times, quorum = {"log": {}, "witness": {}}, {"none": True}, set(), [], None
    need(re.fullmatch(rb"([\t -~\x80-\xff]*\n)+", data) and len(data) <= 2**20, "no policy")
    for line in [line.split() for line in data.split(b"\n") if line.strip()[:1] not in (b"", b"#")]:
        word, name, *rest = [part.decode("utf-8", "surrogateescape") for part in line]
        if word == "quorum":
            need(quorum is None and not rest, "a second quorum")
            quorum = names[name]
        elif word == "group":
            least, *members = rest
            least = {"any": 1, "all": len(members)}.get(least) or int(least) * (str(int(least)) == least)
            need(1 <= least <= len(members) == len(set(members)) and free.issuperset(members), "a group")
            agreed, free = sum(names[member] for member in members) >= least, free - set(members)
        else:
            key, public = vkey(rest[0] if word == "witness" else name, 4 if word == "witness" else 1)
            need(len(rest) < 2 + (word == "witness") and public not in keys[word], "a key twice")
            keys[word][public] = key
            agreed = [signature for by, signature in lines if by == key and word == "witness"]
            for signature in agreed:
                times.append(struct.unpack(">q", signature[:8])[0])
                message = f"cosignature/v1\ntime {times[-1]}\n{text}".encode()
                need(times[-1] >= 0 and signing.VerifyKey(public).verify(message, signature[8:]), "a time past 2^63")
        if word in ("witness", "group"):
            need(name not in names, "a name twice")
            names[name] = bool(agreed)
            free.add(name)
    need(quorum, "no quorum, or not met")
    return keys["log"], times


def header(entry, public, name, identity, height):  # sections 3 and 4: the number of readings, and their root
    protected, unprotected, payload, signature = cbor(entry[1:])
    need((entry[0], unprotected, len(entry) <= (256 if len(name) <= 32 else 290)) == (0xD2, {}, True), "no COSE_Sign1")
    need(cbor(protected) in [{1: algorithm, 3: 60, 4: identity} for algorithm in (-8, -19)], "another key")
    start = b"\x84\x6aSignature1" + bytes([0x40 + len(protected)]) + protected + bytes([0x40, 0x58, len(payload)])
    signing.VerifyKey(public).verify(start + payload, signature)
    fields = cbor(payload)
    need({*range(1, 11)} <= set(fields) <= {*range(1, 12), *range(13, 32)}, "a header's keys")
    numbers = [fields[n] for n in (1, 3, 5, 7, 8, 9, 10, 11, 13) if n in fields]
    need(all(type(n) is int and n >= 0 for n in numbers), "a header's numbers")
    need(fields[1] == 1 and fields[5] <= 65536 and fields[10] <= 2 and fields.get(11, 0) <= 5, "a header's numbers")
    need((fields[2], fields[3], len(fields[4].hex())) == (name, height, 64), "another place in the log")
    need(height or not any(fields[4]), "something before the beginning")
    return fields[5], fields[6]


def reading(pack):  # section 2: the source, and the payload or its digest as {name: bytes}
    records, kinds = cbor(pack), {2: (int, float), 3: (str,), 4: (bool,), 8: (bytes,)}
    need(len(pack) <= 16384 and type(records) is list and len(records) <= 64, "no pack")
    first = records[0]
    need(re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}/", first[-2]), "no source")
    need(first[-3] >= 2**28 and round(first[-3] * 1000) / 1000 == first[-3], "no time in milliseconds")
    need(all(type(first.get(n, 1)) is int and first.get(n, 1) >= (n == "q") for n in ("rt", "q")), "rt or q")
    for record in records:
        (label,) = kinds.keys() & record.keys()
        need(type(record[label]) in kinds[label] and (label != 3 or len(record[3].encode()) <= 1024), "a value")
        known = {0, 1, 6, *kinds, *((-2, -3) if record is first else ())}
        need(all(n in known if type(n) is not str else n[-1:] != "_" for n in record), "a label")
        need(re.fullmatch("[A-Za-z0-9:./_-]+", record.get(0, "-")) and type(record.get(1, "")) is str, "a name or unit")
        need(record is records[-1] or record.get(0) not in ("raw", "raw.sha256"), "a payload that is not last")
    return first[-2][:-1], {n: record[8] for n in ("raw", "raw.sha256") if record.get(0) == n}


def check(receipt, rules):
    """What a receipt proves (section 10), in another order than the gateway's."""
    proof, checkpoint = receipt.split(b"\n\n", 1)
    magic, extra, index, *path = proof.decode("ascii").split("\n")
    need((magic, extra[:6], len(receipt) <= 2**18) == ("c2sp.org/tlog-proof@v1", "extra ", True), "no receipt")
    extra, height, path = cbor(b64(extra[6:])), int(index[6:]), [b64(line) for line in path]
    text, lines = note(checkpoint)
    logs, times = policy(rules, text, lines)
    origin, size, root = text[:-1].split("\n")
    need(re.fullmatch(r"[a-z0-9./-]+/(0|[1-9][0-9]*)", origin) and str(int(size)) == size, "no checkpoint")
    need(index == f"index {height}" and max(height, int(size)) <= MOST, "no place in the log")
    signers = [(public, key, by) for public, key in logs.items() for by in lines if by[0] == key and key[0] == origin]
    need(all(signing.VerifyKey(public).verify(text.encode(), by[1]) for public, _, by in signers), "no signature")
    entry, leaf, place, block_path, (payload, salt) = *(extra[n] for n in (1, 2, 3, 4)), extra.get(6, (None, None))
    for kind, n, top, way, _ in extra.get(5, []):
        need(type(kind) in (int, str) and type(n) is int and all(len(it) == 32 for it in way), "an anchor")
        need(n > height and climb(sha(b"\0", entry), height, n, way) == top, "an anchor of another log")
    need(all(len(it) == 32 for it in path + block_path), "no hashes")
    need(climb(sha(b"\0", entry), height, int(size), path) == b64(root), "another log")
    count, block = header(entry, signers[0][0], *signers[0][1], height)
    need(type(place) is int and climb(sha(b"\0", leaf), place, count, block_path) == block, "another block")
    source, raw = reading(leaf[18:])
    digest = raw.get("raw.sha256") if payload is None else sha(salt, payload)
    need(leaf[:2] == b"\x82\x50" and len(salt or bytes(16)) == 16 and digest == raw.get("raw.sha256"), "a payload")
    return origin, height, place, source, raw.get("raw") if payload is None else payload, min(times, default=None)


if __name__ == "__main__":
    try:
        print("accepted:", *check(*(Path(name).read_bytes() for name in sys.argv[1:])))
    except FAULTS as fault:
        sys.exit(f"refused: {fault}")
