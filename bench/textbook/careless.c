/* A careless epoll echo server, as in many tutorials: it ignores the result of write(). Usage: careless PORT */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(atoi(argv[argc - 1]))};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), poller = epoll_create1(0);
    static char buffer[65536];
    signal(SIGPIPE, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 1024) < 0) return perror("careless"), 1;
    fcntl(listener, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, ready[64];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(poller, ready, 64, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                if ((fd = accept(listener, NULL, NULL)) < 0) continue;
                fcntl(fd, F_SETFL, O_NONBLOCK);
                e.data.fd = fd;
                epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
                continue;
            }
            ssize_t got = read(fd, buffer, sizeof buffer);
            if (got > 0) { if (write(fd, buffer, got) < 0 && errno != EAGAIN) close(fd); }
            else if (got == 0 || errno != EAGAIN) close(fd);
        }
    }
}
