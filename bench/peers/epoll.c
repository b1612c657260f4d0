/* The reference: a short, correct echo server in C. One thread, level-triggered epoll, one shared buffer.
 *
 *     cc -O2 -o epoll epoll.c && ./epoll [PORT [BUFFER-BYTES]]
 *
 * Correct means: every byte is echoed. After a short write the unsent rest is kept, and the connection is not read until
 * the rest is sent; the end of input closes it only after that; a reset closes one connection; and when the process is out
 * of descriptors, accepting pauses while the other connections are served. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

enum { BATCH = 512, RETRY_MS = 100 };

static struct pending { char *rest; size_t off, len; } *pending_writes; /* by descriptor; takes no memory until it is first written */
static int poller, listener, paused;
static char *buffer;
static size_t size = 256 * 1024;

static void watch(int op, int fd, unsigned events) {
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, op, fd, &e) < 0) perror("epoll_ctl"), exit(1);
}

static void drop(int fd) {
    free(pending_writes[fd].rest);
    pending_writes[fd].rest = NULL;
    close(fd);
    if (paused) watch(EPOLL_CTL_ADD, listener, EPOLLIN), paused = 0;
}

static void accept_all(void) {
    int fd;
    for (int n = 0; n < BATCH; n++) {
        if ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) { watch(EPOLL_CTL_ADD, fd, EPOLLIN); continue; }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            epoll_ctl(poller, EPOLL_CTL_DEL, listener, NULL), paused = 1;
        else if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO) continue;
        return; /* EAGAIN: the queue is empty */
    }
}

static void echo(int fd) {
    ssize_t n = read(fd, buffer, size), m;
    if (n <= 0) { if (n == 0 || (errno != EAGAIN && errno != EINTR)) drop(fd); return; }
    m = write(fd, buffer, n);
    if (m == n) return;
    if (m < 0 && errno != EAGAIN && errno != EINTR) { drop(fd); return; }
    if (m < 0) m = 0;
    struct pending *p = &pending_writes[fd];
    if (!(p->rest = malloc(n - m))) { drop(fd); return; }
    memcpy(p->rest, buffer + m, p->len = n - m);
    p->off = 0;
    watch(EPOLL_CTL_MOD, fd, EPOLLOUT);
}

static void flush_pending(int fd) {
    struct pending *p = &pending_writes[fd];
    ssize_t m = write(fd, p->rest + p->off, p->len - p->off);
    if (m < 0) { if (errno != EAGAIN && errno != EINTR) drop(fd); return; }
    if ((p->off += m) < p->len) return;
    free(p->rest);
    p->rest = NULL;
    watch(EPOLL_CTL_MOD, fd, EPOLLIN);
}

int main(int argc, char **argv) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof here;
    struct epoll_event events[BATCH];
    struct rlimit files;
    int one = 1;
    here.sin_port = htons(argc > 1 ? atoi(argv[1]) : 0);
    if (argc > 2) size = strtoul(argv[2], NULL, 0);
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    pending_writes = calloc(files.rlim_cur, sizeof *pending_writes);
    if (posix_memalign((void **)&buffer, 4096, size)) return 1; /* malloc's begins 16 bytes later: see README.md */
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* inherited by accepted sockets */
    setsockopt(listener, SOL_SOCKET, SO_OOBINLINE, &one, sizeof one); /* as above; echo urgent bytes too */
    if (bind(listener, (void *)&here, sizeof here) < 0 || listen(listener, 4096) < 0) { perror("listen"); return 1; }
    getsockname(listener, (void *)&here, &length);
    poller = epoll_create1(EPOLL_CLOEXEC);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
    printf("listening on tcp://127.0.0.1:%d\n", ntohs(here.sin_port));
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(poller, events, BATCH, paused ? RETRY_MS : -1);
        if (n == 0 && paused) watch(EPOLL_CTL_ADD, listener, EPOLLIN), paused = 0;
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) accept_all();
            else if (pending_writes[fd].rest) flush_pending(fd);
            else echo(fd);
        }
    }
}
