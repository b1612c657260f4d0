/* The generator for datagrams: senders that keep a window under way, and count only what came back whole, once.
 *
 *     cc -O2 -o load_udp load_udp.c && ./load_udp echo -p PORT [-c SENDERS] [-s SIZE] [-w WINDOW] [-b] [-d SECONDS]
 *
 * A sender is a socket, hence a port of its own. Every datagram carries its number, its sender's, and bytes that follow
 * from both, so a stale, shifted or mixed-up one shows. What is not back after PATIENCE is lost, and another goes in its
 * place; should it come later, it stays lost. Nothing new goes out at a round's end, and its clock stops when the last
 * answer is in: what the server is charged for and what is counted are the same datagrams.
 *
 * With -b a sender is a batching one: it hands the kernel full trains (UDP_SEGMENT), waiting for a train's room as long
 * as answers come, and takes many datagrams, or trains (UDP_GRO), in one call. Without, each is a call each way. Like
 * `load`, without -d it prints `ready` once each sender was answered, and runs a round for every line of input. */
#include "load.h"
#include <linux/sock_diag.h>
#include <netinet/udp.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

enum {
    PATIENCE_MS = 250, WARM_MS = 5000, SEGMENTS = 64, MOST = 65507, HEAD = 2 * sizeof(uint64_t), QUEUE = 4 << 20,
    /* patience: longer than a full queue takes, 4 MiB twice, 11 000 small datagrams, at 60 000 a second */
    MANY = 64, STRIDE = 65536 + 1088, /* of buffers: all at the same place of a page would share a few lines of cache */
    PLACES = 4096, /* where a datagram's bytes may begin in the pattern */
};

struct slot { uint64_t seq, sent; }; /* sent: when, 0 with nothing under way */
struct sender {
    int fd, free, answered; /* free: slots with nothing under way, at the end of `spare` */
    uint64_t next, lost; /* next: starts at 1, a slot never used has number 0; lost: of which none has come late so far */
    struct slot *slots;
    int *spare;
};

static struct options o;
static struct sender *senders;
static int poller, under_way, most, enough; /* datagrams: of a train at most; free before a sender sends */
static char pattern[PLACES + MOST + 8], train[MOST + 1], incoming[MANY * STRIDE];
static union control { char space[64]; struct cmsghdr header; } controls[MANY];
static struct mmsghdr messages[MANY];
static struct iovec parts[MANY];

static const char *body(uint64_t id, uint64_t seq) {
    return pattern + ((id * 0x9E3779B97F4A7C15ull + seq * 0xC2B2AE3D27D4EB4Full) >> 32) % PLACES;
}

static ssize_t hand_over(int fd, int count) {
    union control control;
    struct iovec part = {train, (size_t)count * o.size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(sizeof(uint16_t))};
    if (count == 1) return send(fd, train, o.size, 0);
    control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(uint16_t)), .cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT};
    memcpy(CMSG_DATA(&control.header), &(uint16_t){o.size}, sizeof(uint16_t));
    return sendmsg(fd, &message, 0);
}

/* Send the next `count` datagrams as one train. What the kernel has no room for was never sent, nor lost. */
static int launch(struct sender *s, int count, uint64_t now) {
    for (int i = 0; i < count; i++) {
        int at = s->spare[s->free - 1 - i];
        uint64_t head[2] = {s->next++ * o.window + at, s - senders};
        memcpy(train + i * o.size, head, HEAD);
        memcpy(train + i * o.size + HEAD, body(head[1], head[0]), o.size - HEAD);
        s->slots[at] = (struct slot){head[0], now};
    }
    if (hand_over(s->fd, count) < 0 && errno != ECONNREFUSED) { /* refused: about an earlier one; this one is lost in time */
        if (errno != EAGAIN && errno != ENOBUFS) fail("send");
        for (int i = 0; i < count; i++) s->slots[s->spare[s->free - 1 - i]].sent = 0;
        return 0;
    }
    s->free -= count, under_way += count;
    return 1;
}

/* Send all that the window allows. */
static void transmit(struct sender *s, uint64_t now) {
    while (s->free && launch(s, s->free < most ? s->free : most, now)) {}
}

static void give_back(struct sender *s, int at) {
    s->slots[at].sent = 0, s->spare[s->free++] = at, under_way--;
}

/* One datagram that came back: whole, expected and the first of its number, or an error. */
static void check(struct sender *s, const char *data, int size, struct round *r, uint64_t now) {
    uint64_t head[2];
    if (size != o.size) { r->errors++; return; }
    memcpy(head, data, HEAD);
    if (head[1] != (uint64_t)(s - senders) || memcmp(data + HEAD, body(head[1], head[0]), size - HEAD)) { r->errors++; return; }
    int at = head[0] % o.window;
    struct slot *slot = &s->slots[at];
    if (slot->seq != head[0] || !slot->sent) { /* a lost one that comes late; with none of those it is twice, or invented */
        if (s->lost) s->lost--; else r->errors++;
        return;
    }
    r->messages++, r->bytes += size, s->answered = 1;
    mark(r, now - slot->sent);
    give_back(s, at);
}

static void take_trains(struct sender *s, struct round *r) {
    int count = MANY;
    for (int turn = 0; turn < 8 && count == MANY; turn++) {
        count = recvmmsg(s->fd, messages, MANY, MSG_DONTWAIT, NULL);
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

static void take_singles(struct sender *s, struct round *r, int ending) {
    for (uint64_t turn = 0; turn < o.window && turn < MANY; turn++) {
        ssize_t size = recv(s->fd, incoming, STRIDE, 0);
        if (size < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED) fail("recv");
        if (size < 0) return;
        uint64_t now = now_ns();
        check(s, incoming, size, r, now);
        if (!ending) transmit(s, now);
    }
}

/* One turn: take what came. True when something did. */
static int take(struct round *r, int timeout_ms, int ending) {
    struct epoll_event ready[BATCH];
    int n = epoll_wait(poller, ready, BATCH, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct sender *s = &senders[ready[i].data.u32];
        if (!o.batched) { take_singles(s, r, ending); continue; }
        take_trains(s, r);
        if (!ending && s->free >= enough) transmit(s, now_ns());
    }
    return n > 0;
}

static void give_up(struct round *r, uint64_t now) {
    for (int i = 0; i < o.connections; i++)
        for (int at = 0; at < (int)o.window; at++)
            if (senders[i].slots[at].sent && senders[i].slots[at].sent + PATIENCE_MS * 1000000ull < now)
                give_back(&senders[i], at), senders[i].lost++, r->lost++;
}

static void send_all(uint64_t now) {
    for (int i = 0; i < o.connections; i++) transmit(&senders[i], now);
}

/* Loss that is not the server's must not pass for it: answers that found no room in a sender's own queue. */
static void own_up(void) {
    static uint64_t told;
    uint64_t drops = 0;
    for (int i = 0; i < o.connections; i++) {
        uint32_t about[SK_MEMINFO_VARS] = {0};
        socklen_t length = sizeof about;
        if (!getsockopt(senders[i].fd, SOL_SOCKET, SO_MEMINFO, about, &length)) drops += about[SK_MEMINFO_DROPS];
    }
    if (drops > told) fprintf(stderr, "load: %lu answers were lost here, not by the server: raise net.core.rmem_max\n", drops - told), told = drops;
}

static void prepare(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(o.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if ((poller = epoll_create1(0)) < 0) fail("epoll_create1");
    senders = calloc(o.connections, sizeof *senders);
    fill(pattern, sizeof pattern, 1, 1);
    for (int i = 0; i < MANY; i++) {
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

/* One datagram of each sender in turn, again while it is not answered: a server may start a process for each. */
static void warm(void) {
    struct round r = {0};
    for (int i = 0; i < o.connections; i++) {
        uint64_t now = now_ns(), end = now + WARM_MS * 1000000ull;
        for (; !senders[i].answered; now = now_ns()) {
            if (now > end || r.errors) fprintf(stderr, "load: sender %d of %d: %s\n", i + 1, o.connections, r.errors ? "wrong bytes" : "no answer"), exit(2);
            give_up(&r, now);
            if (senders[i].free == (int)o.window) launch(&senders[i], 1, now);
            take(&r, 10, 1);
        }
    }
}

static void run(double seconds) {
    struct round r = {0};
    uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9), cpu = cpu_ns(), now = start, look = start, last = end;
    send_all(start);
    for (int ending = 0; !ending || under_way;) {
        int some = take(&r, o.batched ? 1 : 10, ending);
        now = now_ns();
        if (now >= end) ending = 1;
        if (some) last = now;
        if (!some && o.batched && !ending) send_all(now); /* nobody answers: no reason to wait for a full train */
        if (now - look < PATIENCE_MS * 100000ull) continue;
        give_up(&r, look = now);
        if (!ending) send_all(now);
    }
    r.nanoseconds = (last > end ? last : end) - start, r.cpu = cpu_ns() - cpu;
    own_up();
    report(&r);
}

int main(int argc, char **argv) {
    o = parse(argc - (argc > 1), argv + (argc > 1));
    if (!o.window) o.window = 1;
    if (o.size < (int)HEAD || o.size > MOST) fprintf(stderr, "load: a datagram of %zu to %d bytes\n", (size_t)HEAD, MOST), exit(2);
    most = o.batched ? MOST / o.size : 1;
    if (most > SEGMENTS) most = SEGMENTS;
    enough = o.window / 4 < (uint64_t)most ? o.window / 4 : (uint64_t)most;
    if (enough < 1) enough = 1;
    prepare();
    warm();
    for (double seconds; (seconds = next_round(&o)) > 0;) run(seconds);
    return 0;
}
