/* A plugin of qemu-user: how many instructions run between two marks. A mark is a system call that no kernel has, MARK.
 * At every second one it writes a line to standard error: what the thread that made it has run since the one before.
 *
 *	cc -shared -fPIC -o count.so count.c
 *	qemu-aarch64 -plugin ./count.so PROGRAM
 *
 * With an argument, "into=FILE", the counts of all threads are in that file while the program runs, 8 bytes each.
 *
 * The declarations are those of qemu-plugin.h, version 1 of the interface, which Debian does not ship. */
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct tb;
typedef uint64_t id_type;
typedef void tb_callback(id_type, struct tb *);
typedef void run_callback(unsigned int cpu, void *data);
typedef void call_callback(id_type, unsigned int cpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
	uint64_t, uint64_t, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(id_type, tb_callback *);
void qemu_plugin_register_vcpu_tb_exec_cb(struct tb *, run_callback *, int flags, void *data);
void qemu_plugin_register_vcpu_syscall_cb(id_type, call_callback *);
size_t qemu_plugin_tb_n_insns(const struct tb *);

#define EXPORT __attribute__((visibility("default")))
#define MARK 0x7e57
#define THREADS 4096

EXPORT int qemu_plugin_version = 1;

static uint64_t own[THREADS], begun[THREADS];
static uint64_t *counts = own;

static void runs(unsigned int cpu, void *data)
{
	counts[cpu % THREADS] += (uintptr_t)data;
}

static void translated(id_type id, struct tb *tb)
{
	(void)id;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, runs, 0, (void *)(uintptr_t)qemu_plugin_tb_n_insns(tb));
}

static void called(id_type id, unsigned int cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
	uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
	(void)id, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
	if (number != MARK)
		return;
	cpu %= THREADS;
	if (begun[cpu]) {
		fprintf(stderr, "counted %" PRIu64 "\n", counts[cpu] - begun[cpu]);
		begun[cpu] = 0;
		return;
	}
	begun[cpu] = counts[cpu];
}

EXPORT int qemu_plugin_install(id_type id, const void *info, int argc, char **argv)
{
	static const char into[] = "into=";
	(void)info;
	if (argc == 1 && !strncmp(argv[0], into, sizeof into - 1)) {
		int fd = open(argv[0] + sizeof into - 1, O_RDWR | O_CREAT | O_TRUNC, 0600);
		void *shared = MAP_FAILED;
		if (fd >= 0 && !ftruncate(fd, sizeof own))
			shared = mmap(NULL, sizeof own, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (shared == MAP_FAILED)
			return 1;
		close(fd);
		counts = shared;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_vcpu_syscall_cb(id, called);
	return 0;
}
