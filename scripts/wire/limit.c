// The physical limit of a disk server on this machine, and a client that costs little.
//
//   limit serve SOCKET SIZE                                 a server without a protocol's checks and without
//                                                           tables: recv, memcpy, sendmsg, a thread for
//                                                           each connection, as the real one
//   limit load ADDRESS EXPORT read|write BYTES DEPTH CONNECTIONS SECONDS SIZE [USER HEXKEY]
//                                                           prints one line: operations a second, and the
//                                                           latency in ns at 50 % and at 99 %
//
// ADDRESS is the path of a Unix socket, or a port of 127.0.0.1. The client keeps DEPTH requests on the way on
// each connection, at random places; with a USER and a key, over TLS. Both sides speak enough NBD for each other and for any server.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { READ, WRITE, DISC, FLUSH, HEAD = 28, REPLY = 16, BUFFER = 256 << 10, COPY = 16 << 10, PIECES = 1000 };

struct __attribute__((packed)) request { uint32_t magic; uint16_t flags, type; uint64_t cookie, offset; uint32_t length; };
struct __attribute__((packed)) reply { uint32_t magic, error; uint64_t cookie; };

static void fail(const char *what) { perror(what); exit(1); }
static uint64_t now(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}
static void fail_tls(const char *what, int code) { fprintf(stderr, "%s: %s\n", what, gnutls_strerror(code)); exit(1); }
static void send_all(int fd, const void *bytes, size_t count) {
	for (const char *at = bytes; count > 0;) {
		ssize_t sent = send(fd, at, count, MSG_NOSIGNAL);
		if (sent < 0) { if (errno == EINTR) continue; fail("send"); }
		at += sent;
		count -= (size_t)sent;
	}
}

struct peer { int fd; gnutls_session_t tls; };

static ssize_t take(struct peer *peer, void *bytes, size_t count) {
	ssize_t got;
	do got = peer->tls ? gnutls_record_recv(peer->tls, bytes, count) : recv(peer->fd, bytes, count, 0);
	while (peer->tls ? got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED : got < 0 && errno == EINTR);
	if (got <= 0) fail("recv");
	return got;
}
static void take_all(struct peer *peer, void *bytes, size_t count) {
	for (char *at = bytes; count > 0;) { ssize_t got = take(peer, at, count); at += got; count -= (size_t)got; }
}

// The server.

static char *disk;
static size_t disk_size;

struct output { struct iovec piece[PIECES]; int count; char *buffer; size_t filled; };

static int flush_output(int fd, struct output *out) {
	struct iovec *at = out->piece;
	while (out->count > 0) {
		struct msghdr message = { .msg_iov = at, .msg_iovlen = (size_t)out->count };
		ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
		if (sent < 0) { if (errno == EINTR) continue; return 0; }
		while (out->count > 0 && (size_t)sent >= at->iov_len) { sent -= (ssize_t)at->iov_len; at++; out->count--; }
		if (sent > 0) { at->iov_base = (char *)at->iov_base + sent; at->iov_len -= (size_t)sent; }
	}
	out->filled = 0;
	return 1;
}

static void *room(int fd, struct output *out, size_t bytes) {
	if (out->filled + bytes > BUFFER || out->count + 2 > PIECES) if (!flush_output(fd, out)) return NULL;
	return out->buffer + out->filled;
}

static void commit(struct output *out, size_t bytes) {
	char *start = out->buffer + out->filled;
	out->filled += bytes;
	struct iovec *last = &out->piece[out->count - 1];
	if (out->count > 0 && (char *)last->iov_base + last->iov_len == start) last->iov_len += bytes;
	else out->piece[out->count++] = (struct iovec){ start, bytes };
}

static void transmission(int fd) {
	char *input = aligned_alloc(4096, BUFFER);
	struct output out = { .buffer = aligned_alloc(4096, BUFFER) };
	size_t start = 0, end = 0;
	for (;;) {
		while (end - start >= HEAD) {
			struct request *request = (void *)(input + start);
			uint64_t offset = be64toh(request->offset);
			uint32_t length = be32toh(request->length);
			uint16_t type = be16toh(request->type);
			uint64_t cookie = request->cookie;
			if (type == DISC || offset + length > disk_size) goto gone;
			start += HEAD;
			for (size_t left = type == WRITE ? length : 0; left > 0;) {
				if (start == end) {
					start = end = 0;
					if (out.count && !flush_output(fd, &out)) goto gone;
					ssize_t got = recv(fd, input, BUFFER, 0);
					if (got <= 0) goto gone;
					end = (size_t)got;
				}
				size_t part = end - start < left ? end - start : left;
				memcpy(disk + offset + (length - left), input + start, part);
				start += part;
				left -= part;
			}
			struct reply *reply = room(fd, &out, REPLY + COPY);
			if (!reply) goto gone;
			*reply = (struct reply){ htobe32(0x67446698), 0, cookie };
			commit(&out, REPLY);
			if (type == READ && length <= COPY) {
				memcpy(out.buffer + out.filled, disk + offset, length);
				commit(&out, length);
			} else if (type == READ) {
				out.piece[out.count++] = (struct iovec){ disk + offset, length };
			}
		}
		if (out.count && !flush_output(fd, &out)) goto gone;
		memmove(input, input + start, end - start);
		end -= start;
		start = 0;
		ssize_t got = recv(fd, input + end, BUFFER - end, 0);
		if (got < 0 && errno == EINTR) continue;
		if (got <= 0) goto gone;
		end += (size_t)got;
	}
gone:
	free(input);
	free(out.buffer);
}

static void *serve(void *argument) {
	int fd = (int)(intptr_t)argument;
	struct peer peer = { fd, NULL };
	// The newstyle handshake, for a client that sends the flags 3 and then EXPORT_NAME.
	send_all(fd, "NBDMAGICIHAVEOPT\0\3", 18);
	char option[20 + 64];
	take_all(&peer, option, 20);
	take_all(&peer, option + 20, be32toh(*(uint32_t *)(option + 16)) & 63);
	struct __attribute__((packed)) { uint64_t size; uint16_t flags; } export = { htobe64(disk_size), htobe16(1) };
	send_all(fd, &export, sizeof export);
	transmission(fd);
	close(fd);
	return NULL;
}

static int open_socket(const char *address, struct sockaddr_storage *to, socklen_t *length) {
	int port = atoi(address);
	if (port > 0) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
		memcpy(to, &in, *length = sizeof in);
		return socket(AF_INET, SOCK_STREAM, 0);
	}
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	strncpy(un.sun_path, address, sizeof un.sun_path - 1);
	memcpy(to, &un, *length = sizeof un);
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static void no_delay(int fd) { setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)); }

static void run_server(const char *address, size_t size) {
	disk_size = size;
	disk = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (disk == MAP_FAILED) fail("mmap");
	madvise(disk, size, MADV_HUGEPAGE);
	memset(disk, 1, size);
	struct sockaddr_storage to;
	socklen_t length;
	int listener = open_socket(address, &to, &length);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (bind(listener, (struct sockaddr *)&to, length) || listen(listener, 64)) fail(address);
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		if (fd < 0) continue;
		no_delay(fd);
		pthread_t thread;
		pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd);
		pthread_detach(thread);
	}
}

// The client.

struct load { const char *address, *export, *user, *key; int type; uint32_t bytes; int depth; uint64_t blocks, seed; };
struct result { uint64_t *latency; size_t count, room; };
static atomic_int stop;

static void give(struct peer *peer, const void *bytes, size_t count) {
	if (!peer->tls) { send_all(peer->fd, bytes, count); return; }
	for (const char *at = bytes; count > 0;) {
		ssize_t sent = gnutls_record_send(peer->tls, at, count);
		if (sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED) continue;
		if (sent < 0) fail_tls("send", (int)sent);
		at += sent;
		count -= (size_t)sent;
	}
}

struct __attribute__((packed)) option { uint64_t magic; uint32_t code, length; char name[64]; };

static void start_tls(struct peer *peer, const struct load *load) {
	struct option option = { htobe64(0x49484156454F5054), htobe32(5), 0, { 0 } };
	char answer[20];
	give(peer, &option, 16);
	take_all(peer, answer, sizeof answer);
	if (be32toh(*(uint32_t *)(answer + 12)) != 1) { fprintf(stderr, "no TLS\n"); exit(1); }
	gnutls_psk_client_credentials_t credentials;
	gnutls_psk_allocate_client_credentials(&credentials);
	gnutls_datum_t key = { (unsigned char *)load->key, (unsigned)strlen(load->key) };
	gnutls_psk_set_client_credentials(credentials, load->user, &key, GNUTLS_PSK_KEY_HEX);
	gnutls_session_t tls;
	gnutls_init(&tls, GNUTLS_CLIENT);
	int code = gnutls_priority_set_direct(tls, "NORMAL:+ECDHE-PSK:+DHE-PSK:+PSK", NULL);
	if (code) fail_tls("priority", code);
	gnutls_credentials_set(tls, GNUTLS_CRD_PSK, credentials);
	gnutls_transport_set_int(tls, peer->fd);
	do code = gnutls_handshake(tls); while (code < 0 && !gnutls_error_is_fatal(code));
	if (code) fail_tls("handshake", code);
	peer->tls = tls;
}

static struct peer connect_to(const struct load *load) {
	struct sockaddr_storage to;
	socklen_t length;
	int fd = open_socket(load->address, &to, &length);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, length)) fail(load->address);
	no_delay(fd);
	struct peer peer = { fd, NULL };
	char greeting[18], export[10];
	take_all(&peer, greeting, sizeof greeting);
	give(&peer, &(uint32_t){ htobe32(3) }, 4);
	if (load->user) start_tls(&peer, load);
	struct option option = { htobe64(0x49484156454F5054), htobe32(1), htobe32((uint32_t)strlen(load->export)), { 0 } };
	strncpy(option.name, load->export, 63);
	give(&peer, &option, 16 + strlen(option.name));
	take_all(&peer, export, sizeof export);
	return peer;
}

static void *run_client(void *argument) {
	struct load *load = ((void **)argument)[0];
	struct result *result = ((void **)argument)[1];
	struct peer peer = connect_to(load);
	size_t sends = HEAD + (load->type == WRITE ? load->bytes : 0), takes = REPLY + (load->type == READ ? load->bytes : 0);
	char *output = aligned_alloc(4096, (sends * (size_t)load->depth + 4095) & ~(size_t)4095);
	size_t room = takes * (size_t)load->depth < (4 << 20) ? takes * (size_t)load->depth : 4 << 20;
	char *input = aligned_alloc(4096, (room + 4095) & ~(size_t)4095);
	memset(output, 7, sends * (size_t)load->depth);
	uint64_t *begun = calloc((size_t)load->depth, sizeof *begun), state = load->seed;
	size_t filled = 0, skip = 0;
	int out = 0;
#define PUT(slot) do { \
		state ^= state << 13; state ^= state >> 7; state ^= state << 17; \
		*(struct request *)(output + sends * (size_t)out++) = (struct request){ htobe32(0x25609513), 0, htobe16((uint16_t)load->type), \
			(slot), htobe64(state % load->blocks * load->bytes), htobe32(load->bytes) }; \
		begun[slot] = time; } while (0)
	uint64_t time = now();
	for (int slot = 0; slot < load->depth; slot++) PUT(slot);
	int waiting = load->depth;
	give(&peer, output, sends * (size_t)out);
	while (waiting > 0) {
		filled += (size_t)take(&peer, input + filled, room - filled);
		time = now();
		out = 0;
		size_t at = 0;
		// A reply counts when its last byte is here; `skip` is what is still to come of its data.
		for (;;) {
			if (skip > 0) {
				size_t part = filled - at < skip ? filled - at : skip;
				at += part;
				skip -= part;
				if (skip > 0) break;
				goto done;
			}
			if (filled - at < REPLY) break;
			static _Thread_local struct reply reply;
			memcpy(&reply, input + at, REPLY);
			if (reply.magic != htobe32(0x67446698) || reply.error) { fprintf(stderr, "error %u\n", be32toh(reply.error)); exit(1); }
			at += REPLY;
			skip = takes - REPLY;
			if (skip > 0) continue;
done:
			if (result->count == result->room) {
				result->room = result->room * 2 + 4096;
				result->latency = realloc(result->latency, result->room * sizeof *result->latency);
			}
			result->latency[result->count++] = time - begun[reply.cookie];
			waiting--;
			if (!atomic_load_explicit(&stop, memory_order_relaxed)) { PUT(reply.cookie); waiting++; }
		}
		memmove(input, input + at, filled - at);
		filled -= at;
		if (out) give(&peer, output, sends * (size_t)out);
	}
	give(&peer, &(struct request){ htobe32(0x25609513), 0, htobe16(DISC), 0, 0, 0 }, HEAD);
	close(peer.fd);
	return NULL;
}

static int ascending(const void *a, const void *b) {
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

int main(int count, char **words) {
	signal(SIGPIPE, SIG_IGN);
	if (count == 4 && !strcmp(words[1], "serve")) run_server(words[2], strtoull(words[3], NULL, 10));
	if ((count != 10 && count != 12) || strcmp(words[1], "load")) { fprintf(stderr, "see the head of limit.c\n"); return 2; }
	struct load load = { words[2], words[3], count == 12 ? words[10] : NULL, count == 12 ? words[11] : NULL, strcmp(words[4], "write") ? READ : WRITE, (uint32_t)atoi(words[5]), atoi(words[6]),
		strtoull(words[9], NULL, 10) / (uint64_t)atoi(words[5]), 0 };
	int connections = atoi(words[7]);
	pthread_t threads[64];
	struct load loads[64];
	struct result results[64] = { 0 };
	void *arguments[64][2];
	for (int i = 0; i < connections; i++) {
		loads[i] = load;
		loads[i].seed = 0x9e3779b97f4a7c15 * (uint64_t)(i + 1);
		arguments[i][0] = &loads[i];
		arguments[i][1] = &results[i];
		pthread_create(&threads[i], NULL, run_client, arguments[i]);
	}
	uint64_t begin = now();
	double seconds = atof(words[8]);
	nanosleep(&(struct timespec){ (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) }, NULL);
	stop = 1;
	size_t total = 0;
	for (int i = 0; i < connections; i++) { pthread_join(threads[i], NULL); total += results[i].count; }
	double passed = (double)(now() - begin) / 1e9;
	uint64_t *all = malloc(total * sizeof *all);
	size_t at = 0;
	for (int i = 0; i < connections; i++) { memcpy(all + at, results[i].latency, results[i].count * sizeof *all); at += results[i].count; }
	qsort(all, total, sizeof *all, ascending);
	printf("%.0f %llu %llu\n", (double)total / passed, (unsigned long long)all[total / 2], (unsigned long long)all[total * 99 / 100]);
}
