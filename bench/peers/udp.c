/* The measure for datagrams: right echo servers in a page of C, one call a datagram or many datagrams a call.
 *
 *     cc -O2 -o udp udp.c && ./udp plain|batch [PORT [ADDRESS]]
 *
 * Right means: whatever came goes back whole, the empty and the largest datagram too, to whoever sent it; an error is
 * about an earlier datagram, and ends nothing. `plain` is recvfrom and sendto, `batch` is recvmmsg and sendmmsg.
 * Bound to 0.0.0.0 both answer from the address that the route to the sender has, which on one host is right. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* 17 cache lines more than the largest: buffers 64 KiB apart would share one set of the caches' lines, all of them. */
enum { BATCH = 64, WHOLE = 65536 + 17 * 64, QUEUE = 4 << 20 };

static char buffers[BATCH][WHOLE];

static void plain(int fd) {
    struct sockaddr_storage peer;
    for (;;) {
        socklen_t length = sizeof peer;
        ssize_t size = recvfrom(fd, buffers[0], WHOLE, 0, (struct sockaddr *)&peer, &length);
        if (size >= 0) sendto(fd, buffers[0], size, 0, (struct sockaddr *)&peer, length);
    }
}

static void batch(int fd) {
    struct sockaddr_storage peers[BATCH];
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){buffers[i], WHOLE};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (;;) {
        int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < count; i++) parts[i].iov_len = messages[i].msg_len;
        for (int sent = 0, now; sent < count; sent += now)
            if ((now = sendmmsg(fd, messages + sent, count - sent, 0)) < 1) now = 1; /* the one that failed is left out */
        for (int i = 0; i < count; i++) parts[i].iov_len = WHOLE, messages[i].msg_hdr.msg_namelen = sizeof peers[i];
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(argc > 2 ? atoi(argv[2]) : 0)};
    socklen_t length = sizeof at;
    int fd = socket(AF_INET, SOCK_DGRAM, 0), queue = QUEUE, many = argc > 1 && !strcmp(argv[1], "batch");
    if (argc < 2 || (!many && strcmp(argv[1], "plain"))) return fprintf(stderr, "usage: udp plain|batch [PORT [ADDRESS]]\n"), 2;
    if (argc > 3 && !inet_pton(AF_INET, argv[3], &at.sin_addr)) return fprintf(stderr, "udp: an IPv4 address, not %s\n", argv[3]), 2;
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0) return perror("udp"), 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &queue, sizeof queue);
    getsockname(fd, (struct sockaddr *)&at, &length);
    printf("listening on udp://%s:%d\n", inet_ntoa(at.sin_addr), ntohs(at.sin_port));
    fflush(stdout);
    many ? batch(fd) : plain(fd);
}
