"""A bare NBD client. It sends exactly what the test says, right or wrong, and returns the answers.

Numbers and layouts: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
"""

import socket
import struct

READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS, RESIZE = range(9)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN = (1 << bit for bit in range(6))
EXPORT_NAME, ABORT, LIST = 1, 2, 3
STARTTLS, INFO, GO, STRUCTURED_REPLY, LIST_META, SET_META, EXTENDED = 5, 6, 7, 8, 9, 10, 11
ACK, REP_SERVER, REP_INFO, REP_META = 1, 2, 3, 4
UNSUP, POLICY, INVALID, NEEDS_TLS, UNKNOWN, TOO_BIG, NEEDS_EXTENDED = (
    1 << 31 | number for number in (1, 2, 3, 5, 6, 9, 10))
EPERM, EIO, ENOMEM, EINVAL, ENOSPC, ENOTSUP = 1, 5, 12, 22, 28, 95


def text(string):
    return struct.pack(">I", len(string)) + string.encode()


class Reply:
    """A reply: `error` (0 for none) and `chunks`, (type, payload) pairs. A simple one has no
    chunks."""

    def __init__(self, cookie):
        self.cookie, self.error, self.chunks, self.simple, self.data = cookie, 0, [], False, b""

    def extents(self, context=None):
        """The (length, flags) pairs of a reply to BLOCK_STATUS, of the only context or of the one
        with this identifier."""
        found = self.all_extents()
        if context is None:
            (context,) = found
        return found[context]

    def all_extents(self):
        """A list of (length, flags) pairs for each context, by its identifier."""
        found = {}
        for kind, payload in self.chunks:
            if kind == 5:
                words = struct.unpack(f">{len(payload) // 4}I", payload)
                found[words[0]] = list(zip(words[1::2], words[2::2]))
            elif kind == 6:
                context, count = struct.unpack(">II", payload[:8])
                words = struct.unpack(f">{2 * count}Q", payload[8:])
                found[context] = list(zip(words[::2], words[1::2]))
        return found


class Wire:
    """A connection. Every wait ends, so a server out of step makes a test fail, and not hang."""

    def __init__(self, address, flags=3, timeout=60):
        """`address` is a Unix socket's path, a host and port, or a socket that is connected."""
        if isinstance(address, socket.socket):
            self.socket = address
        elif isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout)
        self.socket.settimeout(timeout)
        assert self.take(16) == b"NBDMAGICIHAVEOPT"
        assert self.take(2) == b"\0\3"
        self.send(struct.pack(">I", flags))
        self.structured = self.extended = False
        self.size = self.flags = self.contexts = None
        # The offset that extended replies must repeat, if the test knows it.
        self.offset = None

    def send(self, data):
        self.socket.sendall(data)

    def take(self, count):
        data = bytearray()
        while len(data) < count:
            part = self.socket.recv(min(count - len(data), 1 << 20))
            if not part:
                raise EOFError(f"the server closed after {len(data)} of {count} bytes")
            data += part
        return bytes(data)

    def is_closed(self):
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.socket.close()

    # Negotiation

    def option(self, code, payload=b""):
        """Sends an option. Returns its replies as (type, payload) pairs up to the final one."""
        self.send(b"IHAVEOPT" + struct.pack(">II", code, len(payload)) + payload)
        return self.answers(code)

    def answers(self, code):
        replies = []
        while True:
            magic, option, kind, length = struct.unpack(">QIII", self.take(20))
            assert magic == 0x3E889045565A9, f"{magic:x}: the negotiation is out of step"
            assert option == code, (option, code)
            replies.append((kind, self.take(length)))
            if kind == ACK or kind >> 31:
                return replies

    def status(self, code, payload=b""):
        """Sends an option, and returns the type of its final reply."""
        return self.option(code, payload)[-1][0]

    def secure(self, context):
        """Begins TLS with a context of Python's ssl module. Returns self."""
        assert self.status(STARTTLS) == ACK
        self.socket = context.wrap_socket(self.socket)
        return self

    def meta(self, code, export, *queries):
        payload = text(export) + struct.pack(">I", len(queries)) + b"".join(map(text, queries))
        replies = self.option(code, payload)
        return replies[-1][0], [payload[4:].decode() for kind, payload in replies if kind == REP_META]

    def go(self, export, structured=True, allocation=True, option=GO, infos=(), extended=False, contexts=None):
        """Begins transmission, as a well-behaved client does. Returns self."""
        if structured:
            assert self.status(EXTENDED if extended else STRUCTURED_REPLY) == ACK
            self.structured, self.extended = True, extended
            if allocation or contexts:
                status, self.contexts = self.meta(SET_META, export, *(contexts or ["base:allocation"]))
                assert status == ACK
        payload = text(export) + struct.pack(f">H{len(infos)}H", len(infos), *infos)
        replies = self.option(option, payload)
        assert replies[-1][0] == ACK, replies
        self.infos = {struct.unpack(">H", p[:2])[0]: p[2:] for k, p in replies if k == REP_INFO}
        self.size, self.flags = struct.unpack(">QH", self.infos[0])
        return self

    # Transmission

    def request(self, command, offset=0, length=0, flags=0, payload=b"", cookie=7):
        if self.extended:
            flags |= PAYLOAD_LEN if payload else 0
            self.send(struct.pack(">IHHQQQ", 0x21E41C71, flags, command, cookie, offset, length) + payload)
            return
        self.send(struct.pack(">IHHQQI", 0x25609513, flags, command, cookie, offset, length) + payload)

    def reply(self, length=0):
        """Receives the next reply. `length` is the length of the data of a successful simple
        READ."""
        reply = None
        while True:
            (magic,) = struct.unpack(">I", self.take(4))
            if magic == 0x67446698 and not self.extended:
                error, cookie = struct.unpack(">IQ", self.take(12))
                reply = Reply(cookie)
                reply.simple, reply.error = True, error
                reply.data = b"" if error else self.take(length)
                return reply
            assert magic == (0x6E8A278C if self.extended else 0x668E33EF), f"{magic:x}: the stream is out of step"
            assert self.structured, "a structured reply that was not negotiated"
            if self.extended:
                flags, kind, cookie, offset, count = struct.unpack(">HHQQQ", self.take(28))
                assert self.offset is None or offset == self.offset, "a reply repeats its request's offset"
            else:
                flags, kind, cookie, count = struct.unpack(">HHQI", self.take(16))
            reply = reply or Reply(cookie)
            assert reply.cookie == cookie, "chunks of two replies mixed"
            payload = self.take(count)
            reply.chunks.append((kind, payload))
            if kind >> 15:
                (reply.error,) = struct.unpack(">I", payload[:4])
            if flags & 1:
                return reply

    def ask(self, command, offset=0, length=0, flags=0, payload=b"", cookie=7):
        """Sends a request and returns its reply. Checks what must hold for every reply."""
        self.request(command, offset, length, flags, payload, cookie)
        self.offset = offset
        reply = self.reply(length if command == READ and not self.structured else 0)
        assert reply.cookie == cookie, (reply.cookie, cookie)
        self.offset = None
        if self.structured and command in (READ, BLOCK_STATUS):
            assert not reply.simple, "READ and BLOCK_STATUS are never answered simply"
        return reply

    def error(self, *request, **more):
        return self.ask(*request, **more).error

    def read(self, offset, length, flags=0):
        """Reads bytes. Puts them together from the chunks, and checks their places and overlaps."""
        reply = self.ask(READ, offset, length, flags)
        assert reply.error == 0, reply.error
        if not self.structured:
            return reply.data
        data, seen = bytearray(length), 0
        for kind, payload in reply.chunks:
            if kind == 0:
                continue
            (at,) = struct.unpack(">Q", payload[:8])
            if kind == 1:
                part = payload[8:]
            else:
                assert kind == 2, kind
                part = bytes(struct.unpack(">I", payload[8:])[0])
            assert part and offset <= at and at + len(part) <= offset + length, (at, len(part))
            data[at - offset : at - offset + len(part)] = part
            seen += len(part)
        assert seen == length, (seen, length)
        return bytes(data)

    def write(self, offset, data, flags=0):
        assert self.error(WRITE, offset, len(data), flags, data) == 0
