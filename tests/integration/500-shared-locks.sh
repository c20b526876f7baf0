#!/usr/bin/env bash
# share=on: POSIX and flock locks are kept by the daemon. Conflicts, waiting, interruption by a signal, a waiter's death,
# release at close, deadlock. The same must hold with share=off, where the kernel keeps them.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need python3

cat >locks.py <<'PY'
import errno, fcntl, os, signal, struct, sys, time
path = sys.argv[1]

def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as e:
            print('child:', repr(e), file=sys.stderr)
            os._exit(1)
    return pid

def ended(pid):
    assert os.waitpid(pid, 0)[1] == 0

def lock(fd, kind, start=0, length=0):
    fcntl.lockf(fd, kind, length, start)

def busy(work):
    try:
        work()
    except OSError as e:
        assert e.errno in (errno.EAGAIN, errno.EACCES), e
        return True
    return False

fd = os.open(path, os.O_RDWR | os.O_CREAT)

# conflict and getlk
lock(fd, fcntl.LOCK_EX, 10, 10)
def conflict():
    f = os.open(path, os.O_RDWR)
    assert busy(lambda: lock(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 15, 1))
    lock(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 20, 5)
    got = fcntl.fcntl(f, fcntl.F_GETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))
    kind, _, start, length, pid = struct.unpack('hhqqi4x', got)
    assert (kind, start, length) == (fcntl.F_WRLCK, 10, 10), (kind, start, length)
    assert pid == os.getppid(), pid
ended(child(conflict))

# waiting until it is released
def waits():
    f = os.open(path, os.O_RDWR)
    begin = time.monotonic()
    lock(f, fcntl.LOCK_EX, 10, 10)
    assert time.monotonic() - begin > 0.2
pid = child(waits)
time.sleep(0.4)
lock(fd, fcntl.LOCK_UN, 10, 10)
ended(pid)

# a signal interrupts
lock(fd, fcntl.LOCK_EX)
def interrupted():
    f = os.open(path, os.O_RDWR)
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(InterruptedError()))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        lock(f, fcntl.LOCK_EX)
        raise SystemExit('granted')
    except InterruptedError:
        pass
ended(child(interrupted))

# a waiter that is killed leaves nothing behind
pid = child(lambda: lock(os.open(path, os.O_RDWR), fcntl.LOCK_EX))
time.sleep(0.2)
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
lock(fd, fcntl.LOCK_UN)
def free():
    f = os.open(path, os.O_RDWR)
    lock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
ended(child(free))

# closing any descriptor releases all of the process
lock(fd, fcntl.LOCK_EX)
os.close(os.open(path, os.O_RDONLY))
ended(child(free))

# deadlock is seen
lock(fd, fcntl.LOCK_EX, 0, 1)
def other():
    f = os.open(path, os.O_RDWR)
    lock(f, fcntl.LOCK_EX, 1, 1)
    lock(f, fcntl.LOCK_EX, 0, 1)
pid = child(other)
time.sleep(0.4)
try:
    lock(fd, fcntl.LOCK_EX, 1, 1)
    raise SystemExit('no deadlock seen')
except OSError as e:
    assert e.errno == errno.EDEADLK, e
lock(fd, fcntl.LOCK_UN)
ended(pid)

# flock belongs to the description
a = os.open(path, os.O_RDWR)
b = os.open(path, os.O_RDWR)
fcntl.flock(a, fcntl.LOCK_SH)
fcntl.flock(b, fcntl.LOCK_SH)
assert busy(lambda: fcntl.flock(a, fcntl.LOCK_EX | fcntl.LOCK_NB))
os.close(b)
fcntl.flock(a, fcntl.LOCK_EX | fcntl.LOCK_NB)
def flock_wait():
    os.close(a)  # the fork's copy
    f = os.open(path, os.O_RDWR)
    fcntl.flock(f, fcntl.LOCK_EX)
pid = child(flock_wait)
time.sleep(0.2)
os.close(a)
ended(pid)
print('ok')
PY

for words in share=off share=on share=on,max_threads=1; do
	mkimage a.img 32M
	mount_kfs a.img a -o "$words"
	expect_eq "$(timeout 60 python3 locks.py a/file)" ok "locks with $words"
	umount_kfs a
	fsck_clean a.img
done
