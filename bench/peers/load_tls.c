/* The generator over TLS: `load echo`, over OpenSSL. It verifies bytes, not certificates.
 *
 *     cc -O2 -o load_tls load_tls.c -lssl -lcrypto && ./load_tls echo -p PORT [-c CONNECTIONS] [-s SIZE] [-d SECONDS] [-v]
 *
 * -v selects TLS 1.2; otherwise the two sides negotiate. The first line on standard error names the cipher. */
#if !__has_include(<openssl/ssl.h>)
#error "OpenSSL's headers are missing: install libssl-dev"
#endif
#include "load.h"
#include <openssl/ssl.h>

struct conn { uint64_t seq, sent_at, got; SSL *ssl; };

static struct conn *conns;
static struct options o;
static int poller;
static char *out, *in, *want;

static void open_all(void) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    if (o.tls12) SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    for (int i = 0; i < o.connections; i++) {
        int fd = dial(&o, i, 0);
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
        conns[i].ssl = SSL_new(context);
        SSL_set_fd(conns[i].ssl, fd);
        if (SSL_connect(conns[i].ssl) != 1) fail("the TLS handshake");
        fcntl(fd, F_SETFL, O_NONBLOCK);
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    }
    fprintf(stderr, "load_tls: %s\n", SSL_get_cipher_name(conns[0].ssl));
}

static void send_message(int i, struct round *r) {
    fill(out, o.size, i, conns[i].seq);
    if (SSL_write(conns[i].ssl, out, o.size) != o.size) r->errors++; /* one message in flight: it always fits */
}

/* Return 1 once the echo is complete, 0 for records without data (session tickets). */
static int read_message(int i, struct round *r) {
    struct conn *c = &conns[i];
    for (;;) {
        int n = SSL_read(c->ssl, in, o.size + 1);
        if (n <= 0 && SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ) return 0;
        fill(want, o.size, i, c->seq);
        if (n <= 0 || c->got + n > (uint64_t)o.size || memcmp(in, want + c->got, n)) {
            r->errors++;
            epoll_ctl(poller, EPOLL_CTL_DEL, SSL_get_fd(c->ssl), NULL);
            return 0;
        }
        if ((int)(c->got += n) == o.size) { c->got = 0, c->seq++; return 1; }
    }
}

/* Keep one message in flight on every connection until `end`, then wait for every echo. */
static void exchange(struct round *r, double seconds) {
    struct epoll_event events[BATCH];
    uint64_t began = now_ns(), end = began + (uint64_t)(seconds * 1e9), before = cpu_ns();
    int flying = o.connections;
    for (int i = 0; i < flying; i++) conns[i].sent_at = now_ns(), send_message(i, r);
    while (flying > 0) {
        int n = epoll_wait(poller, events, BATCH, 5000);
        if (n <= 0) { r->errors += flying; break; }
        for (int k = 0; k < n; k++) {
            int i = events[k].data.u32;
            uint64_t failed = r->errors, now;
            if (read_message(i, r)) {
                now = now_ns(), r->messages++, r->bytes += o.size, mark(r, now - conns[i].sent_at);
                if (now > end) flying--;
                else conns[i].sent_at = now, send_message(i, r);
            }
            flying -= r->errors - failed;
        }
    }
    r->nanoseconds = now_ns() - began;
    r->cpu = cpu_ns() - before;
}

int main(int argc, char **argv) {
    static struct round r;
    double seconds;
    o = parse(argc - (argc > 1), argv + (argc > 1));
    if (argc < 2 || argv[1][0] != 'e') fprintf(stderr, "load_tls: echo is all it can do\n"), exit(2);
    signal(SIGPIPE, SIG_IGN);
    conns = calloc(o.connections, sizeof *conns);
    out = malloc(o.size + 8), in = malloc(o.size + 8), want = malloc(o.size + 8);
    poller = epoll_create1(EPOLL_CLOEXEC);
    open_all();
    exchange(&r, 0); /* warm up: once on each */
    while ((seconds = next_round(&o)) >= 0) {
        memset(&r, 0, sizeof r);
        exchange(&r, seconds);
        report(&r);
    }
    return 0;
}
