/* Signals of each kind: by each call, to a process and to a thread, to one that is not there, one
 * that only asks, a fault, and a timer. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void nothing(int number)
{
	(void)number;
}

static void fault(void)
{
	int pid = fork();

	if (!pid) {
		*(volatile int *)8 = 1;
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

int main(void)
{
	int pid = getpid(), tid = syscall(SYS_gettid), file = syscall(SYS_pidfd_open, pid, 0);
	struct itimerval soon = {.it_value.tv_usec = 1000};
	siginfo_t info = {.si_code = SI_QUEUE};

	for (int number = 1; number < 65; number++)
		signal(number, nothing);
	signal(SIGSEGV, SIG_DFL);
	for (int i = 0; i < 10; i++) {
		syscall(SYS_kill, pid, SIGUSR1);
		syscall(SYS_tkill, tid, SIGUSR2);
		syscall(SYS_tgkill, pid, tid, SIGHUP);
		syscall(SYS_pidfd_send_signal, file, SIGTERM, NULL, 0);
		syscall(SYS_rt_sigqueueinfo, pid, SIGRTMIN, &info);
		syscall(SYS_rt_tgsigqueueinfo, pid, tid, SIGRTMIN + 1, &info);
		syscall(SYS_kill, pid, 0);
		syscall(SYS_kill, 4194999, SIGTERM);
		fault();
	}
	setitimer(ITIMER_REAL, &soon, NULL);
	pause();
	return 0;
}
