/* The generator: it counts only verified bytes.
 *
 *     cc -O2 -o load load.c && ./load echo|stream|accept|hold -p PORT [-c CONNECTIONS] [-s SIZE] [-d SECONDS] ...
 *
 * echo    one message in flight on each connection, the next as soon as the echo is complete
 * stream  every connection writes without waiting and reads at the same time
 * accept  connect, [-e: echo a message,] half-close, read the server's end, close: -c at a time; -r: close by reset instead
 * hold    open -c connections and keep them open; a round echoes once on each
 *
 * Without -d it prints `ready` once connected and warm, then runs a round for each line on standard input (the
 * duration in seconds) and prints a line of JSON for it. -n N -f FIRST: N source addresses 127.1.0.FIRST and up. */
#include "load.h"

enum { PERIOD = 65537, PIECES = 8, CHUNK = 256 * 1024 }; /* a prime period: a lost or repeated block of 2^n bytes is detected */

struct conn { uint64_t seq, sent_at, got, sent; int fd, state; };

static struct conn *conns;
static struct options o;
static int poller;
static char *out, *in, *want;

static void watch(int op, int i, unsigned events) {
    struct epoll_event e = {.events = events, .data.u32 = i};
    if (epoll_ctl(poller, op, conns[i].fd, &e) < 0) fail("epoll_ctl");
}

static void open_all(void) {
    for (int i = 0; i < o.connections; i++) {
        conns[i].fd = dial(&o, i, 0);
        fcntl(conns[i].fd, F_SETFL, O_NONBLOCK);
        watch(EPOLL_CTL_ADD, i, EPOLLIN);
    }
}

static void close_all(void) {
    struct linger now = {1, 0}; /* close by reset: thousands of sockets in TIME_WAIT would slow the next row */
    for (int i = 0; i < o.connections; i++) setsockopt(conns[i].fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), close(conns[i].fd);
}

static int wait_until(struct epoll_event *events, uint64_t end) {
    uint64_t now = now_ns();
    int n = now >= end ? 0 : epoll_wait(poller, events, BATCH, (end - now) / 1000000 + 1);
    return n < 0 && errno == EINTR ? 0 : n;
}

static void broken(int i, struct round *r) {
    r->errors++;
    epoll_ctl(poller, EPOLL_CTL_DEL, conns[i].fd, NULL);
}

/* -- echo and hold ------------------------------------------------------------------------------------------------ */

static void send_message(int i, struct round *r) {
    struct conn *c = &conns[i];
    fill(out, o.size, i, c->seq);
    ssize_t n = write(c->fd, out + c->sent, o.size - c->sent);
    if (n < 0 && errno != EAGAIN) { broken(i, r); return; }
    if (n > 0) c->sent += n;
    if ((int)c->sent < o.size) watch(EPOLL_CTL_MOD, i, EPOLLIN | EPOLLOUT), c->state = 1;
    else if (c->state) watch(EPOLL_CTL_MOD, i, EPOLLIN), c->state = 0;
}

/* Return 1 once the echo is complete. */
static int read_message(int i, struct round *r) {
    struct conn *c = &conns[i];
    ssize_t n = read(c->fd, in, o.size + 1); /* one more than expected, to detect a surplus */
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0 || c->got + n > (uint64_t)o.size) { broken(i, r); return 0; }
    fill(want, o.size, i, c->seq);
    if (memcmp(in, want + c->got, n)) { broken(i, r); return 0; }
    if ((int)(c->got += n) < o.size) return 0;
    c->got = c->sent = 0, c->seq++;
    return 1;
}

/* Exchange at most `left` messages, or until `end`. The round and its clock end when every echo has arrived, so that the
 * server's CPU time and the count cover the same messages. */
static void exchange(struct round *r, double seconds, int64_t left) {
    struct epoll_event events[BATCH];
    uint64_t began = now_ns(), end = began + (uint64_t)(seconds * 1e9), deadline = end + 5000000000ull;
    int in_flight = 0, next = 0, window = left > 0 && o.connections > 512 ? 512 : o.connections;
    uint64_t before = cpu_ns();
    for (; next < window; next++, in_flight++) conns[next].sent_at = now_ns(), send_message(next, r);
    while (in_flight > 0) {
        int n = wait_until(events, deadline);
        if (n <= 0) { r->errors += in_flight; break; }
        for (int k = 0; k < n; k++) {
            int i = events[k].data.u32;
            uint64_t failed = r->errors;
            if ((events[k].events & EPOLLOUT) && conns[i].state) send_message(i, r);
            if (events[k].events & ~EPOLLOUT && read_message(i, r)) {
                uint64_t now = now_ns();
                r->messages++, r->bytes += o.size, mark(r, now - conns[i].sent_at);
                if (left > 0) in_flight--, i = next < o.connections ? next++ : -1, in_flight += i >= 0;
                else if (now > end) in_flight--, i = -1;
                if (i >= 0) conns[i].sent_at = now, send_message(i, r);
            }
            in_flight -= r->errors - failed;
        }
    }
    r->nanoseconds = now_ns() - began;
    r->cpu = cpu_ns() - before;
}

/* -- stream ------------------------------------------------------------------------------------------------------- */

static char pattern[PERIOD];

/* Write as much as the kernel and the window allow; return 0 when the connection is broken. */
static int write_window(int i) {
    struct conn *c = &conns[i];
    struct iovec pieces[PIECES];
    size_t at = c->sent % PERIOD, room = o.window ? o.window - (c->sent - c->got) : PERIOD * PIECES, asked = 0;
    int j = 0, full;
    for (; j < PIECES && room; j++, at = 0) {
        size_t len = PERIOD - at < room ? PERIOD - at : room;
        pieces[j] = (struct iovec){pattern + at, len};
        room -= len, asked += len;
    }
    ssize_t n = j ? writev(c->fd, pieces, j) : 0;
    if (n < 0 && errno != EAGAIN) return 0;
    if (n > 0) c->sent += n;
    full = n < (ssize_t)asked; /* the kernel's buffer is full: continue when it has room, not after every read */
    if (full != c->state) watch(EPOLL_CTL_MOD, i, full ? EPOLLIN | EPOLLOUT : EPOLLIN), c->state = full;
    return 1;
}

/* Read and compare; return the number of correct bytes, -1 when the connection is broken or a byte is wrong. */
static ssize_t read_and_compare(int i) {
    struct conn *c = &conns[i];
    ssize_t n = read(c->fd, in, CHUNK);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) return -1;
    for (ssize_t done = 0; done < n;) {
        size_t at = c->got % PERIOD, len = PERIOD - at < (size_t)(n - done) ? PERIOD - at : (size_t)(n - done);
        if (memcmp(in + done, pattern + at, len)) return -1;
        done += len, c->got += len;
    }
    return n;
}

static void stream(struct round *r, double seconds) {
    struct epoll_event events[BATCH];
    uint64_t began = now_ns(), end = began + (uint64_t)(seconds * 1e9), deadline = end + 5000000000ull, before = cpu_ns(), now;
    int open = 0;
    fill(pattern, PERIOD, 1, 1);
    for (int i = 0; i < o.connections; i++)
        if (write_window(i)) open++; else broken(i, r);
    while (open > 0) {
        int n = wait_until(events, deadline);
        if (n <= 0) { r->errors += open; break; }
        now = now_ns();
        for (int k = 0; k < n; k++) {
            int i = events[k].data.u32;
            struct conn *c = &conns[i];
            ssize_t m = events[k].events & ~EPOLLOUT ? read_and_compare(i) : 0;
            if (m > 0) r->bytes += m;
            if (m < 0 || (now < end && ((events[k].events & EPOLLOUT) || !c->state) && !write_window(i))) broken(i, r), open--;
            else if (now >= end) { /* nothing more is sent; the round ends when everything has been echoed */
                if (c->state) watch(EPOLL_CTL_MOD, i, EPOLLIN), c->state = 0;
                if (c->got == c->sent) open--;
            }
        }
    }
    r->nanoseconds = now_ns() - began, r->cpu = cpu_ns() - before;
    r->messages = r->bytes / CHUNK;
}

/* -- accept ------------------------------------------------------------------------------------------------------- */

enum { CONNECTING = 0, ECHOING, ENDING };

static void dial_next(int i) {
    static uint64_t turn;
    conns[i] = (struct conn){.fd = dial(&o, turn, SOCK_NONBLOCK), .seq = turn, .sent_at = now_ns(), .state = CONNECTING};
    turn++;
    watch(EPOLL_CTL_ADD, i, EPOLLIN | EPOLLOUT);
}

static void accepting(struct round *r, double seconds) {
    struct epoll_event events[BATCH];
    struct linger reset = {1, 0};
    uint64_t began = now_ns(), end = began + (uint64_t)(seconds * 1e9), deadline = end + 5000000000ull, before = cpu_ns();
    int open = o.connections;
    for (int i = 0; i < open; i++) dial_next(i);
    while (open > 0) {
        int n = wait_until(events, deadline);
        if (n <= 0) { r->errors += open; break; }
        for (int k = 0; k < n; k++) {
            int i = events[k].data.u32, over = 0;
            struct conn *c = &conns[i];
            if (c->state == CONNECTING) {
                if (events[k].events & EPOLLERR) r->errors++, over = 1;
                else if (o.echoes) fill(out, o.size, 0, c->seq), c->state = write(c->fd, out, o.size) == o.size ? ECHOING : ENDING, watch(EPOLL_CTL_MOD, i, EPOLLIN);
                else if (o.reset) r->messages++, mark(r, now_ns() - c->sent_at), over = 1;
                else c->state = ENDING, shutdown(c->fd, SHUT_WR), watch(EPOLL_CTL_MOD, i, EPOLLIN);
            } else {
                ssize_t m = read(c->fd, in, o.size + 1);
                if (m < 0 && errno == EAGAIN) continue;
                if (c->state == ECHOING && m > 0) {
                    fill(want, o.size, 0, c->seq);
                    if (c->got + m > (uint64_t)o.size || memcmp(in, want + c->got, m)) r->errors++, over = 1;
                    else if ((int)(c->got += m) < o.size) continue;
                    else if (o.reset) r->messages++, r->bytes += m, mark(r, now_ns() - c->sent_at), over = 1;
                    else c->state = ENDING, shutdown(c->fd, SHUT_WR);
                } else if (c->state == ENDING && m == 0 && (!o.echoes || (int)c->got == o.size)) {
                    r->messages++, r->bytes += c->got, mark(r, now_ns() - c->sent_at), over = 1;
                } else r->errors++, over = 1;
            }
            if (!over) continue;
            if (o.reset) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
            close(c->fd);
            if (now_ns() < end) dial_next(i); else open--;
        }
    }
    r->nanoseconds = now_ns() - began;
    r->cpu = cpu_ns() - before;
}

int main(int argc, char **argv) {
    static struct round r;
    char mode = argc > 1 ? argv[1][0] : '?';
    double seconds;
    o = parse(argc - (argc > 1), argv + (argc > 1));
    if (!strchr("esah", mode)) fprintf(stderr, "load: echo, stream, accept or hold?\n"), exit(2);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    conns = calloc(o.connections, sizeof *conns);
    size_t room = o.size + 8 > CHUNK ? o.size + 8 : CHUNK;
    out = malloc(room), in = malloc(room), want = malloc(room);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (mode != 'a') open_all();
    if (mode == 'e') exchange(&r, 60, o.connections); /* warm up: once on each */
    while ((seconds = next_round(&o)) >= 0) {
        memset(&r, 0, sizeof r);
        if (mode == 'e') exchange(&r, seconds, 0);
        else if (mode == 's') stream(&r, seconds);
        else if (mode == 'a') accepting(&r, seconds);
        else exchange(&r, seconds > 0 ? seconds : 60, o.connections);
        report(&r);
    }
    if (mode != 'a') close_all();
    return 0;
}
