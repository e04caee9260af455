/* A server whose latencies are known: POST anything, and token k of the answer (OpenAI completions,
 * server-sent events) leaves TTFT + k * ITL after the request's last byte was read.
 *
 *   truth_server TTFT_US ITL_US TOKENS LOG
 *
 * It listens on a free port of 127.0.0.1 and prints it. On SIGTERM it prints one JSON line with the
 * errors of its own timing (moment after each write, less the moment at which it was due) and writes
 * LOG: for each finished request two 64-bit monotonic nanoseconds, arrival and last write. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 16384         /* connections, by file descriptor */
#define REQUEST (1 << 20)  /* bytes of the longest request */
#define BINS 2000000       /* microseconds of the greatest error told apart */

struct peer {
  char *in;
  size_t have;
  int64_t arrived, due;
  int next, prompt, place; /* next token; tokens of the prompt; place in the heap, -1: none */
};

static struct peer peers[MOST];
static int heap[MOST], waiting;
static int64_t ttft, itl;
static int tokens;
static uint32_t first_error[BINS + 1], token_error[BINS + 1];
static FILE *log_file;
static volatile sig_atomic_t over;

static void stop(int signal) { (void)signal; over = 1; }

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void put(int place, int fd) { heap[place] = fd; peers[fd].place = place; }

static void sift(int place) {
  int fd = heap[place];
  for (; place > 0 && peers[heap[(place - 1) / 2]].due > peers[fd].due; place = (place - 1) / 2)
    put(place, heap[(place - 1) / 2]);
  for (int child; (child = 2 * place + 1) < waiting; place = child) {
    if (child + 1 < waiting && peers[heap[child + 1]].due < peers[heap[child]].due) child++;
    if (peers[heap[child]].due >= peers[fd].due) break;
    put(place, heap[child]);
  }
  put(place, fd);
}

static void wait_until(int fd, int64_t due) {
  peers[fd].due = due;
  put(waiting++, fd);
  sift(waiting - 1);
}

static void forget(int fd) {
  int place = peers[fd].place;
  if (place < 0) return;
  peers[fd].place = -1;
  if (place == --waiting) return;
  put(place, heap[waiting]);
  sift(place);
}

static void hang_up(int fd) {
  forget(fd);
  free(peers[fd].in);
  peers[fd].in = NULL;
  close(fd);
}

static int chunk(char *out, const char *text) {
  return sprintf(out, "%zx\r\n%s\r\n", strlen(text), text);
}

/* Send the token that is due, and with the last one the end of the answer. */
static void send_token(int fd) {
  struct peer *p = &peers[fd];
  char out[2048], text[512];
  int size = 0;
  if (p->next == 0)
    size += sprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                         "Transfer-Encoding: chunked\r\n\r\n");
  sprintf(text, "data: {\"id\":\"cmpl-truth\",\"object\":\"text_completion\",\"created\":1700000000,"
                "\"model\":\"truth\",\"choices\":[{\"index\":0,\"text\":\" w%d\",\"logprobs\":null,"
                "\"finish_reason\":null}]}\n\n", p->next);
  size += chunk(out + size, text);
  int last = p->next == tokens - 1;
  if (last) {
    sprintf(text, "data: {\"id\":\"cmpl-truth\",\"object\":\"text_completion\",\"choices\":[],"
                  "\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n",
            p->prompt, tokens, p->prompt + tokens);
    size += chunk(out + size, text);
    size += chunk(out + size, "data: [DONE]\n\n");
    size += sprintf(out + size, "0\r\n\r\n");
  }
  if (send(fd, out, size, MSG_NOSIGNAL) != size) { hang_up(fd); return; }
  int64_t sent = now_ns(), error = (sent - p->due) / 1000;
  (p->next ? token_error : first_error)[error > BINS ? BINS : error]++;
  forget(fd);
  if (last) {
    int64_t line[2] = {p->arrived, sent};
    fwrite(line, sizeof line, 1, log_file);
    return;
  }
  p->next++;
  wait_until(fd, p->arrived + ttft + p->next * itl);
}

/* Count the ids of a prompt that is a list; 0 for any other. */
static int count_prompt(const char *body) {
  const char *at = strstr(body, "\"prompt\":[");
  int count = at != NULL;
  for (at = at ? at + 10 : "]"; *at && *at != ']'; at++) count += *at == ',';
  return count;
}

static void read_request(int fd) {
  struct peer *p = &peers[fd];
  ssize_t got = recv(fd, p->in + p->have, REQUEST - 1 - p->have, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) { hang_up(fd); return; }
  p->have += got;
  p->in[p->have] = 0;
  char *body = strstr(p->in, "\r\n\r\n");
  if (body == NULL) return;
  body += 4;
  char *length = strcasestr(p->in, "content-length:");
  size_t whole = (body - p->in) + (length && length < body ? strtoul(length + 15, NULL, 10) : 0);
  if (p->have < whole) return;
  if (p->have > whole || p->place >= 0) { hang_up(fd); return; } /* pipelining is not answered */
  p->arrived = now_ns();
  p->prompt = count_prompt(body);
  p->have = 0;
  p->next = 0;
  wait_until(fd, p->arrived + ttft);
}

static void welcome(int door, int epoll) {
  int yes = 1;
  for (int fd; (fd = accept4(door, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
    if (fd >= MOST) { close(fd); continue; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    peers[fd] = (struct peer){.in = malloc(REQUEST), .place = -1};
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
  }
}

static double percentile(const uint32_t *bins, double share) {
  uint64_t total = 0, seen = 0;
  for (int at = 0; at <= BINS; at++) total += bins[at];
  for (int at = 0; at <= BINS; at++)
    if ((seen += bins[at]) > share * total) return at / 1000.0;
  return 0.0;
}

int main(int count, char **args) {
  if (count != 5) return 2;
  ttft = atoll(args[1]) * 1000;
  itl = atoll(args[2]) * 1000;
  tokens = atoi(args[3]);
  log_file = fopen(args[4], "wb");
  struct rlimit files = {MOST, MOST};
  setrlimit(RLIMIT_NOFILE, &files);
  signal(SIGTERM, stop);
  int door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof here;
  if (!log_file || tokens < 1 || bind(door, (struct sockaddr *)&here, size) || listen(door, 4096))
    return 1;
  getsockname(door, (struct sockaddr *)&here, &size);
  printf("%d\n", ntohs(here.sin_port));
  fflush(stdout);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = door}, ready[256];
  epoll_ctl(epoll, EPOLL_CTL_ADD, door, &event);
  while (!over) {
    while (waiting && peers[heap[0]].due <= now_ns()) send_token(heap[0]);
    int64_t left = waiting ? peers[heap[0]].due - now_ns() : 100000000;
    left = left < 0 ? 0 : left;
    struct timespec timeout = {left / 1000000000, left % 1000000000};
    int many = epoll_pwait2(epoll, ready, 256, &timeout, NULL);
    for (int i = 0; i < many; i++)
      if (ready[i].data.fd == door) welcome(door, epoll);
      else read_request(ready[i].data.fd);
  }
  fclose(log_file);
  printf("{\"first_ms_p50\": %.3f, \"first_ms_p99\": %.3f, \"token_ms_p50\": %.3f, "
         "\"token_ms_p99\": %.3f}\n", percentile(first_error, 0.5), percentile(first_error, 0.99),
         percentile(token_error, 0.5), percentile(token_error, 0.99));
  return 0;
}
