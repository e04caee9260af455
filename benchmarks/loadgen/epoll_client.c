/* The least that a streaming client can do: a closed loop of STREAMS connections over epoll.
 *
 *   epoll_client PORT STREAMS WARMUP_S WINDOW_S PROMPT_TOKENS
 *
 * The slots begin evenly over the first half of the warm-up. Prints one JSON line about the requests
 * sent in the window: count, TTFT and gaps between events with a token (ms), CPU seconds. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HELD 65536

struct stream {
  char in[HELD];
  size_t have;
  int fd, measured;
  int64_t begin, sent, last; /* last: moment of the last token, 0 before the first */
};

struct samples { float *ms; size_t count, room; };

static struct samples first, gaps;
static char *request;
static size_t request_size;
static int64_t window_start, window_end;
static long completed;
static double cpu_start, cpu_end;

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double cpu_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void add(struct samples *s, int64_t ns) {
  if (s->count == s->room) s->ms = realloc(s->ms, (s->room = 2 * s->room + 4096) * sizeof *s->ms);
  s->ms[s->count++] = ns / 1e6f;
}

static int order(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static double percentile(struct samples *s, double share) {
  qsort(s->ms, s->count, sizeof *s->ms, order);
  return s->count ? s->ms[(size_t)(share * (s->count - 1))] : 0.0;
}

static void die(const char *why) { perror(why); exit(1); }

static void ask(struct stream *s) {
  s->have = s->last = 0;
  s->sent = now_ns();
  s->measured = s->sent >= window_start && s->sent < window_end;
  if (send(s->fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size) die("send");
}

/* Take every whole event of what was read; tell whether the answer is over. */
static int take(struct stream *s, int64_t now) {
  char *at = s->in, *end;
  while ((end = memmem(at, s->in + s->have - at, "\n\n", 2))) {
    if (memmem(at, end - at, "\"text\":\"", 8)) {
      if (s->measured) add(s->last ? &gaps : &first, now - (s->last ? s->last : s->sent));
      s->last = now;
    }
    at = end + 2;
  }
  s->have -= at - s->in;
  memmove(s->in, at, s->have);
  return s->have >= 5 && !memcmp(s->in + s->have - 5, "0\r\n\r\n", 5);
}

static void read_answer(struct stream *s) {
  ssize_t got = recv(s->fd, s->in + s->have, HELD - s->have, 0);
  int64_t now = now_ns();
  if (got <= 0) die("recv");
  s->have += got;
  if (!take(s, now)) return;
  completed += now >= window_start && now < window_end;
  ask(s);
}

static void write_request(int prompt) {
  char *body = malloc(8 * prompt + 512);
  int size = sprintf(body, "{\"model\":\"truth\",\"max_tokens\":100,\"min_tokens\":100,"
                           "\"ignore_eos\":true,\"temperature\":0,\"stream\":true,"
                           "\"stream_options\":{\"include_usage\":true},\"prompt\":[");
  for (int i = 0; i < prompt; i++) size += sprintf(body + size, "%s%d", i ? "," : "", 10000 + i);
  size += sprintf(body + size, "]}");
  request = malloc(size + 512);
  request_size = sprintf(request, "POST /v1/completions HTTP/1.1\r\nHost: truth\r\n"
                                  "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                         size, body);
}

int main(int count, char **args) {
  if (count != 6) return 2;
  int streams = atoi(args[2]), epoll = epoll_create1(0), yes = 1, begun = 0;
  double warmup = atof(args[3]);
  write_request(atoi(args[5]));
  struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(atoi(args[1])),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct stream *all = calloc(streams, sizeof *all);
  for (int i = 0; i < streams; i++) {
    all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(all[i].fd, (struct sockaddr *)&there, sizeof there)) die("connect");
    setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
    epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event);
  }
  int64_t zero = now_ns();
  window_start = zero + (int64_t)(warmup * 1e9);
  window_end = window_start + (int64_t)(atof(args[4]) * 1e9);
  for (int i = 0; i < streams; i++) all[i].begin = zero + (int64_t)(i * warmup / 2 / streams * 1e9);
  struct epoll_event ready[256];
  for (int64_t now; (now = now_ns()) < window_end;) {
    if (!cpu_start && now >= window_start) cpu_start = cpu_s();
    while (begun < streams && all[begun].begin <= now) ask(&all[begun++]);
    int64_t next = begun < streams ? all[begun].begin : now < window_start ? window_start : window_end;
    int64_t left = next > now ? next - now : 0;
    struct timespec timeout = {left / 1000000000, left % 1000000000};
    int many = epoll_pwait2(epoll, ready, 256, &timeout, NULL);
    for (int i = 0; i < many; i++) read_answer(ready[i].data.ptr);
  }
  cpu_end = cpu_s();
  printf("{\"completed\": %ld, \"ttft_ms_p50\": %.3f, \"ttft_ms_p99\": %.3f, \"itl_ms_p50\": %.3f, "
         "\"itl_ms_p99\": %.3f, \"cpu_s\": %.4f}\n", completed, percentile(&first, 0.5),
         percentile(&first, 0.99), percentile(&gaps, 0.5), percentile(&gaps, 0.99),
         cpu_end - cpu_start);
  return 0;
}
