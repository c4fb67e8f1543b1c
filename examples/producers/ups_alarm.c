/*
 * ups_alarm [SPOOL]: mail an alarm from C, without any library.     cc -o ups_alarm ups_alarm.c
 *
 * The job is built in SPOOL/tmp, synced, and renamed into SPOOL/incoming: it appears there whole or not at all, and it
 * survives a power cut from then on, which is what this mail is about. Prints the job's name. Exit code 73: the job could
 * not be written; nothing was dropped.
 */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char envelope[] =
    "from = \"UPS in the basement <ups@example.com>\"\n"
    "to = [\"ops@example.org\"]\n"
    "subject = \"On battery, 23 minutes left\"\n"
    "importance = \"high\"\n"
    "expires = \"30m\"\n"; /* later it is of no use */

static const char text[] =
    "Mains power failed. The UPS in the basement carries 41 % load\n"
    "and lasts for about 23 minutes.\n";

/* Write a whole file below the folder and wait until the disk has it; -1 and errno on failure. */
static int write_file(int folder, const char *name, const char *content)
{
    size_t left = strlen(content);
    int file = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0)
        return -1;
    while (left > 0) {
        ssize_t done = write(file, content, left);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0) {
            close(file);
            return -1;
        }
        content += done;
        left -= (size_t)done;
    }
    if (fsync(file) != 0) {
        close(file);
        return -1;
    }
    return close(file);
}

/* Drop the job into the folder 'spool'; -1 and errno on failure, with nothing left behind. */
static int drop(int spool, const char *name)
{
    char staged[128], target[128];
    int job, incoming, done = -1, reason;

    snprintf(staged, sizeof staged, "tmp/%s", name);
    snprintf(target, sizeof target, "incoming/%s", name);
    if (mkdirat(spool, staged, 0777) != 0)
        return -1;
    job = openat(spool, staged, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (job >= 0 && write_file(job, "body.txt", text) == 0 && write_file(job, "envelope.toml", envelope) == 0 &&
        fsync(job) == 0)
        done = renameat(spool, staged, spool, target);
    reason = errno;
    if (done != 0 && job >= 0) {
        unlinkat(job, "body.txt", 0);
        unlinkat(job, "envelope.toml", 0);
    }
    if (job >= 0)
        close(job);
    if (done != 0) {
        unlinkat(spool, staged, AT_REMOVEDIR);
        errno = reason;
        return -1;
    }
    incoming = openat(spool, "incoming", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (incoming >= 0) {
        fsync(incoming);
        close(incoming);
    }
    return 0;
}

int main(int count, char **arguments)
{
    const char *path = count > 1 ? arguments[1] : "/var/spool/maildropd";
    char name[64];
    struct timespec now;
    int spool;

    clock_gettime(CLOCK_REALTIME, &now);
    /* Unique: the result comes back under this name. */
    snprintf(name, sizeof name, "ups-alarm-%lld-%09ld-%ld", (long long)now.tv_sec, now.tv_nsec, (long)getpid());
    spool = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool < 0 || drop(spool, name) != 0) {
        fprintf(stderr, "ups_alarm: %s: %s\n", path, strerror(errno));
        return 73;
    }
    puts(name);
    return 0;
}
