/* The generator for datagrams: senders that keep a window in flight, and count only complete echoes, each once.
 *
 *     cc -O2 -o load_udp load_udp.c && ./load_udp echo -p PORT [-c SENDERS] [-s SIZE] [-w WINDOW] [-b] [-d SECONDS]
 *
 * Each sender is a socket with its own port. Every datagram contains its number, its sender's number, and bytes derived
 * from both, so a stale, shifted or foreign one is detected. A datagram without an echo after LOST_AFTER_MS is lost, and
 * another is sent in its place; if its echo arrives later, it still counts as lost. At the end of a round nothing more is
 * sent, and the clock stops with the last echo, so that the server's CPU time and the count cover the same datagrams.
 *
 * With -b senders batch: they pass full batches to the kernel (UDP_SEGMENT), waiting for room for a whole one as long as
 * echoes arrive, and receive many datagrams, or batches (UDP_GRO), in one call. Without -b each datagram is one call in each
 * direction. Like `load`, without -d it prints `ready` once each sender has had an echo, and runs a round for each line of
 * input. */
#include "load.h"
#include <linux/sock_diag.h>
#include <netinet/udp.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

enum {
    LOST_AFTER_MS = 250, WARM_MS = 5000, SEGMENTS = 64, MAX_DATAGRAM = 65507, HEAD = 2 * sizeof(uint64_t), QUEUE = 4 << 20,
    /* longer than a full queue takes: twice 4 MiB, 11 000 small datagrams, at 60 000 per second */
    MAX_MESSAGES = 64, STRIDE = 65536 + 1088, /* of buffers: at equal page offsets they would share a few cache lines */
    OFFSETS = 4096, /* possible offsets of a datagram's bytes in the pattern */
};

struct slot { uint64_t seq, sent; }; /* sent: time of sending, 0 when not in flight */
struct sender {
    int fd, free, answered; /* free: number of unused slots, the last ones of `spare` */
    uint64_t next, lost; /* next: starts at 1, since unused slots have number 0; lost: without those that arrived late */
    struct slot *slots;
    int *spare;
};

static struct options o;
static struct sender *senders;
static int poller, in_flight, max_batch, min_batch; /* datagrams: largest batch; free slots before a sender sends a batch */
static char pattern[OFFSETS + MAX_DATAGRAM + 8], outgoing[MAX_DATAGRAM + 1], incoming[MAX_MESSAGES * STRIDE];
static union control { char space[64]; struct cmsghdr header; } controls[MAX_MESSAGES];
static struct mmsghdr messages[MAX_MESSAGES];
static struct iovec parts[MAX_MESSAGES];

static const char *body(uint64_t id, uint64_t seq) {
    return pattern + ((id * 0x9E3779B97F4A7C15ull + seq * 0xC2B2AE3D27D4EB4Full) >> 32) % OFFSETS;
}

static ssize_t send_batch(int fd, int count) {
    union control control;
    struct iovec part = {outgoing, (size_t)count * o.size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(sizeof(uint16_t))};
    if (count == 1) return send(fd, outgoing, o.size, 0);
    control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(uint16_t)), .cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT};
    memcpy(CMSG_DATA(&control.header), &(uint16_t){o.size}, sizeof(uint16_t));
    return sendmsg(fd, &message, 0);
}

/* Send the next `count` datagrams as one batch. Those without room in the kernel count neither as sent nor as lost. */
static int send_next(struct sender *s, int count, uint64_t now) {
    for (int i = 0; i < count; i++) {
        int at = s->spare[s->free - 1 - i];
        uint64_t head[2] = {s->next++ * o.window + at, s - senders};
        memcpy(outgoing + i * o.size, head, HEAD);
        memcpy(outgoing + i * o.size + HEAD, body(head[1], head[0]), o.size - HEAD);
        s->slots[at] = (struct slot){head[0], now};
    }
    if (send_batch(s->fd, count) < 0 && errno != ECONNREFUSED) { /* ECONNREFUSED is about an earlier datagram; this one will count as lost */
        if (errno != EAGAIN && errno != ENOBUFS) fail("send");
        for (int i = 0; i < count; i++) s->slots[s->spare[s->free - 1 - i]].sent = 0;
        return 0;
    }
    s->free -= count, in_flight += count;
    return 1;
}

/* Send as many as the window allows. */
static void transmit(struct sender *s, uint64_t now) {
    while (s->free && send_next(s, s->free < max_batch ? s->free : max_batch, now)) {}
}

static void release(struct sender *s, int at) {
    s->slots[at].sent = 0, s->spare[s->free++] = at, in_flight--;
}

/* Check one echo: complete, expected and the first of its number, or an error. */
static void check(struct sender *s, const char *data, int size, struct round *r, uint64_t now) {
    uint64_t head[2];
    if (size != o.size) { r->errors++; return; }
    memcpy(head, data, HEAD);
    if (head[1] != (uint64_t)(s - senders) || memcmp(data + HEAD, body(head[1], head[0]), size - HEAD)) { r->errors++; return; }
    int at = head[0] % o.window;
    struct slot *slot = &s->slots[at];
    if (slot->seq != head[0] || !slot->sent) { /* the late echo of a lost one; if none is lost, a duplicate or a forgery */
        if (s->lost) s->lost--; else r->errors++;
        return;
    }
    r->messages++, r->bytes += size, s->answered = 1;
    mark(r, now - slot->sent);
    release(s, at);
}

static void receive_batches(struct sender *s, struct round *r) {
    int count = MAX_MESSAGES;
    for (int turn = 0; turn < 8 && count == MAX_MESSAGES; turn++) {
        count = recvmmsg(s->fd, messages, MAX_MESSAGES, MSG_DONTWAIT, NULL);
        if (count < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED) fail("recvmmsg");
        uint64_t now = now_ns();
        for (int i = 0; i < count; i++) {
            struct msghdr *m = &messages[i].msg_hdr;
            int size = messages[i].msg_len, each = size, at = 0;
            for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
                if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) memcpy(&each, CMSG_DATA(c), sizeof each);
            do check(s, (char *)parts[i].iov_base + at, size - at < each ? size - at : each, r, now);
            while ((at += each) < size);
            m->msg_controllen = sizeof controls[i];
        }
    }
}

static void receive_singles(struct sender *s, struct round *r, int ending) {
    for (uint64_t turn = 0; turn < o.window && turn < MAX_MESSAGES; turn++) {
        ssize_t size = recv(s->fd, incoming, STRIDE, 0);
        if (size < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED) fail("recv");
        if (size < 0) return;
        uint64_t now = now_ns();
        check(s, incoming, size, r, now);
        if (!ending) transmit(s, now);
    }
}

/* Receive what has arrived; return whether anything has. */
static int receive(struct round *r, int timeout_ms, int ending) {
    struct epoll_event ready[BATCH];
    int n = epoll_wait(poller, ready, BATCH, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct sender *s = &senders[ready[i].data.u32];
        if (!o.batched) { receive_singles(s, r, ending); continue; }
        receive_batches(s, r);
        if (!ending && s->free >= min_batch) transmit(s, now_ns());
    }
    return n > 0;
}

static void expire(struct round *r, uint64_t now) {
    for (int i = 0; i < o.connections; i++)
        for (int at = 0; at < (int)o.window; at++)
            if (senders[i].slots[at].sent && senders[i].slots[at].sent + LOST_AFTER_MS * 1000000ull < now)
                release(&senders[i], at), senders[i].lost++, r->lost++;
}

static void send_all(uint64_t now) {
    for (int i = 0; i < o.connections; i++) transmit(&senders[i], now);
}

/* Report losses that are not the server's: echoes dropped for lack of room in a sender's own queue. */
static void report_own_drops(void) {
    static uint64_t reported;
    uint64_t drops = 0;
    for (int i = 0; i < o.connections; i++) {
        uint32_t about[SK_MEMINFO_VARS] = {0};
        socklen_t length = sizeof about;
        if (!getsockopt(senders[i].fd, SOL_SOCKET, SO_MEMINFO, about, &length)) drops += about[SK_MEMINFO_DROPS];
    }
    if (drops > reported) fprintf(stderr, "load: %lu echoes were lost by the generator, not by the server: raise net.core.rmem_max\n", drops - reported), reported = drops;
}

static void prepare(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(o.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if ((poller = epoll_create1(0)) < 0) fail("epoll_create1");
    senders = calloc(o.connections, sizeof *senders);
    fill(pattern, sizeof pattern, 1, 1);
    for (int i = 0; i < MAX_MESSAGES; i++) {
        parts[i] = (struct iovec){incoming + i * STRIDE, STRIDE};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1, .msg_control = &controls[i], .msg_controllen = sizeof controls[i]};
    }
    for (int i = 0; i < o.connections; i++) {
        struct sender *s = &senders[i];
        int queue = QUEUE, on = 1;
        if ((s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0) fail("socket");
        setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &queue, sizeof queue);
        setsockopt(s->fd, SOL_SOCKET, SO_SNDBUF, &queue, sizeof queue);
        if (o.batched && setsockopt(s->fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on) < 0) fail("UDP_GRO");
        if (connect(s->fd, (struct sockaddr *)&to, sizeof to) < 0) fail("connect");
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, s->fd, &e) < 0) fail("epoll_ctl");
        s->next = 1, s->slots = calloc(o.window, sizeof *s->slots), s->spare = malloc(o.window * sizeof *s->spare);
        for (s->free = 0; s->free < (int)o.window; s->free++) s->spare[s->free] = s->free;
    }
}

/* Send one datagram from each sender in turn, again until it is echoed: a server may start a process for each. */
static void warm(void) {
    struct round r = {0};
    for (int i = 0; i < o.connections; i++) {
        uint64_t now = now_ns(), end = now + WARM_MS * 1000000ull;
        for (; !senders[i].answered; now = now_ns()) {
            if (now > end || r.errors) fprintf(stderr, "load: sender %d of %d: %s\n", i + 1, o.connections, r.errors ? "wrong bytes" : "no answer"), exit(2);
            expire(&r, now);
            if (senders[i].free == (int)o.window) send_next(&senders[i], 1, now);
            receive(&r, 10, 1);
        }
    }
}

static void run(double seconds) {
    struct round r = {0};
    uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9), cpu = cpu_ns(), now = start, look = start, last = end;
    send_all(start);
    for (int ending = 0; !ending || in_flight;) {
        int some = receive(&r, o.batched ? 1 : 10, ending);
        now = now_ns();
        if (now >= end) ending = 1;
        if (some) last = now;
        if (!some && o.batched && !ending) send_all(now); /* no echoes: do not wait for room for a full batch */
        if (now - look < LOST_AFTER_MS * 100000ull) continue;
        expire(&r, look = now);
        if (!ending) send_all(now);
    }
    r.nanoseconds = (last > end ? last : end) - start, r.cpu = cpu_ns() - cpu;
    report_own_drops();
    report(&r);
}

int main(int argc, char **argv) {
    o = parse(argc - (argc > 1), argv + (argc > 1));
    if (!o.window) o.window = 1;
    if (o.size < (int)HEAD || o.size > MAX_DATAGRAM) fprintf(stderr, "load: a datagram of %zu to %d bytes\n", (size_t)HEAD, MAX_DATAGRAM), exit(2);
    max_batch = o.batched ? MAX_DATAGRAM / o.size : 1;
    if (max_batch > SEGMENTS) max_batch = SEGMENTS;
    min_batch = o.window / 4 < (uint64_t)max_batch ? o.window / 4 : (uint64_t)max_batch;
    if (min_batch < 1) min_batch = 1;
    prepare();
    warm();
    for (double seconds; (seconds = next_round(&o)) > 0;) run(seconds);
    return 0;
}
