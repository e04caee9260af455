/* A closed loop of streams against the simulator, over epoll: what its tokens look like outside.
 *
 *   sim_client PORT STREAMS WARMUP_S WINDOW_S PROMPT_TOKENS ANSWER_TOKENS MODEL
 *
 * The streams begin evenly over half of the warm-up, so that answers end evenly ever after. Every
 * request has a prompt of its own. Prints one JSON line about the window: tokens, answers,
 * the gaps between tokens of one answer (ms), CPU seconds of this client. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HELD 262144

struct stream {
  char in[HELD];
  size_t have;
  int fd;
  int64_t last; /* moment of the last token, 0 before the first */
};

static float *gaps;
static size_t gap_count, gap_room;
static int64_t window_start, window_end;
static long tokens, answers;
static char *body, *request, *model;
static int prompt_tokens, answer_tokens, next_word;

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

static int order(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static double percentile(double share) {
  return gap_count ? gaps[(size_t)(share * (gap_count - 1))] : 0.0;
}

static void die(const char *why) { perror(why); exit(1); }

static void ask(struct stream *s) {
  int size = sprintf(body, "{\"model\":\"%s\",\"max_tokens\":%d,\"stream\":true,\"prompt\":[",
                     model, answer_tokens);
  int word = next_word++; /* one token, repeated: no two requests share a block */
  for (int i = 0; i < prompt_tokens; i++) size += sprintf(body + size, "%s%d", i ? "," : "", word);
  size += sprintf(body + size, "]}");
  int all = sprintf(request, "POST /v1/completions HTTP/1.1\r\nHost: sim\r\n"
                             "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                    size, body);
  s->have = s->last = 0;
  if (send(s->fd, request, all, MSG_NOSIGNAL) != all) die("send");
}

static void count(struct stream *s, int64_t now) {
  if (now >= window_start && now < window_end) {
    tokens++;
    if (s->last) {
      if (gap_count == gap_room) gaps = realloc(gaps, (gap_room = 2 * gap_room + 65536) * sizeof *gaps);
      gaps[gap_count++] = (now - s->last) / 1e6f;
    }
  }
  s->last = now;
}

/* Take every whole event of what was read; tell whether the answer is over. */
static int take(struct stream *s, int64_t now) {
  char *at = s->in, *end;
  while ((end = memmem(at, s->in + s->have - at, "\n\n", 2))) {
    if (memmem(at, end - at, "\"text\":\"", 8)) count(s, now);
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
  answers += now >= window_start && now < window_end;
  ask(s);
}

int main(int argc, char **args) {
  if (argc != 8) return 2;
  int streams = atoi(args[2]), epoll = epoll_create1(0), yes = 1, begun = 0;
  double warmup = atof(args[3]);
  prompt_tokens = atoi(args[5]);
  answer_tokens = atoi(args[6]);
  model = args[7];
  body = malloc(12 * prompt_tokens + 1024);
  request = malloc(12 * prompt_tokens + 2048);
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
  double cpu_start = 0;
  struct epoll_event ready[256];
  for (int64_t now; (now = now_ns()) < window_end;) {
    if (!cpu_start && now >= window_start) cpu_start = cpu_s();
    while (begun < streams && zero + (int64_t)(begun * warmup / 2 / streams * 1e9) <= now)
      ask(&all[begun++]);
    int many = epoll_wait(epoll, ready, 256, begun < streams ? 1 : 10);
    for (int i = 0; i < many; i++) read_answer(ready[i].data.ptr);
  }
  double cpu = cpu_s() - cpu_start;
  qsort(gaps, gap_count, sizeof *gaps, order);
  printf("{\"tokens\": %ld, \"answers\": %ld, \"itl_ms_p50\": %.3f, \"itl_ms_p99\": %.3f, "
         "\"cpu_s\": %.4f}\n", tokens, answers, percentile(0.5), percentile(0.99), cpu);
  return 0;
}
