# Stands for the public nats image: the same program, and a wget for its health check.
FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/wget
COPY busybox /bin/sh
COPY nats-server /usr/local/bin/nats-server
ENTRYPOINT ["/usr/local/bin/nats-server"]
