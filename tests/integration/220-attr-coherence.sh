#!/usr/bin/env bash
# Attributes that the kernel caches "until told otherwise" are those of the store after every operation that changes
# another inode than the one it names: seen through a second name, an open file, or the directory around it. Judged by
# asking again with the caches dropped, and again after a remount.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need python3 chattr setfacl

cat >coherence.py <<'PY'
import ctypes, json, mmap, os, subprocess, sys, time

libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[2])
seen = {}  # path -> what was seen after the last operation on it


def look(path):
    s = os.lstat(path)
    return {'mode': oct(s.st_mode), 'nlink': s.st_nlink, 'uid': s.st_uid, 'gid': s.st_gid, 'size': s.st_size,
            'blocks': s.st_blocks, 'mtime': s.st_mtime_ns, 'ctime': s.st_ctime_ns, 'ino': s.st_ino}


def differences(then):
    bad = []
    for path, old in then.items():
        new = look(path)
        for key in old:
            if old[key] != new[key]:
                bad.append(f'{path}: {key} was {old[key]}, is {new[key]}')
    return bad


if sys.argv[1] == 'again':
    with open(sys.argv[3]) as f:
        bad = differences(json.load(f))
    sys.exit('\n'.join(['after a remount:'] + bad) if bad else 0)


def fresh(name, body=b'x' * 10000):
    with open(name, 'wb') as f:
        f.write(body)
        f.flush()
        os.fsync(f.fileno())
    return name


def case(name, watched, act, gone=()):
    """Look at @watched (paths in the case's directory), act there, look again: by name, and by an open file."""
    os.chdir(name)
    fds = {}
    for path in watched:
        if os.path.isfile(path) or os.path.isdir(path):
            fds[path] = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        if os.path.lexists(path):
            look(path)
    look('.')
    time.sleep(0.02)
    act()
    for path in gone:
        assert os.fstat(fds[path]).st_nlink == 0, f'{name}: {path} is gone and has links'
    for path in watched:
        if os.path.lexists(path):
            seen[f'{name}/{path}'] = look(path)
        else:
            seen.pop(f'{name}/{path}', None)
    seen[name] = look('.')
    for fd in fds.values():
        os.close(fd)
    os.chdir('..')


def rename2(old, new, flags):
    if libc.renameat2(-100, old.encode(), -100, new.encode(), flags):
        raise OSError(ctypes.get_errno(), f'renameat2 {old} {new}')


def directory(name, *files, dirs=()):
    os.mkdir(name)
    for d in dirs:
        os.mkdir(f'{name}/{d}')
    for f in files:
        fresh(f'{name}/{f}')
    return name


def fallocate(path, mode, off, length):
    fd = os.open(path, os.O_RDWR)
    if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), f'fallocate {path} {mode}')
    os.close(fd)


def as_user(act):
    """In a child without privileges."""
    pid = os.fork()
    if not pid:
        os.setgroups([])
        os.setgid(1000)
        os.setuid(1000)
        act()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def write_at(path, off, body, sync=True):
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, body, off)
    if sync:
        os.fsync(fd)
    os.close(fd)


def copy_range(source, target, length):
    a, b = os.open(source, os.O_RDONLY), os.open(target, os.O_WRONLY)
    assert os.copy_file_range(a, b, length) == length
    os.close(a)
    os.close(b)


def names():
    d = directory('link', 'a', dirs=['sub'])
    case(d, ['a', 'b', 'sub'], lambda: os.link('a', 'sub/b'))
    case(d, ['a', 'sub', 'sub/b'], lambda: os.link('sub/b', 'c'))
    case(d, ['a', 'c', 'sub', 'sub/b'], lambda: os.unlink('sub/b'))
    d = directory('unlink', 'a')
    case(d, ['a'], lambda: os.unlink('a'), gone=['a'])
    d = directory('replace', 'a', 'b', 'only')
    os.link('replace/b', 'replace/b2')
    case(d, ['a', 'b', 'b2'], lambda: os.rename('a', 'b'))
    case(d, ['b', 'b2', 'only'], lambda: os.rename('b', 'only'), gone=['only'])
    d = directory('cross', 'f', dirs=['x', 'y', 'x/d'])
    case(d, ['x', 'y', 'x/d'], lambda: os.rename('x/d', 'y/d'))
    os.mkdir('cross/x/d')
    case(d, ['x', 'y', 'x/d', 'y/d'], lambda: os.rename('x/d', 'y/d'), gone=['y/d'])
    case(d, ['f', 'x', 'y', 'y/d'], lambda: rename2('f', 'y/d', 2))
    case(d, ['f', 'x', 'y', 'y/d'], lambda: rename2('y/d', 'x/white', 4))
    case(d, ['x', 'y', 'y/d', 'x/white'], lambda: None)
    case(d, ['x', 'y'], lambda: os.mkdir('x/new'))
    case(d, ['x', 'y', 'x/new'], lambda: os.rmdir('x/new'), gone=['x/new'])
    d = directory('noreplace', 'a', 'b')
    case(d, ['a', 'b', 'c'], lambda: rename2('a', 'c', 1))


def absent_names():
    """A name known to be absent, however it comes into being."""
    d = directory('absent', 'a', dirs=['d'])
    ways = {
        'link': lambda n: os.link('a', n),
        'symlink': lambda n: os.symlink('a', n),
        'mkdir': os.mkdir,
        'mknod': lambda n: os.mknod(n, 0o600),
        'create': lambda n: os.close(os.open(n, os.O_CREAT | os.O_EXCL, 0o600)),
        'rename': lambda n: (fresh('from'), os.rename('from', n)),
        'tmpfile': tmpfile_link,
    }
    for way, make in ways.items():
        assert not os.path.lexists(f'absent/{way}')
        case(d, ['a', way], lambda: make(way))
        assert os.path.lexists(f'absent/{way}'), way
    fresh('absent/w')
    case(d, ['w', 'moved'], lambda: rename2('w', 'moved', 4))
    assert os.path.lexists('absent/w'), 'the whiteout'
    os.unlink('absent/w')
    assert not os.path.lexists('absent/w')
    os.rename('absent/moved', 'absent/w')
    assert os.path.lexists('absent/w')
    for path in ['absent', 'absent/w', 'absent/moved']:
        seen.pop(path, None)


def tmpfile_link(name):
    fd = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b'unnamed')
    os.fsync(fd)
    assert libc.linkat(-100, f'/proc/self/fd/{fd}'.encode(), -100, name.encode(), 0x400) == 0
    assert os.fstat(fd).st_nlink == 1
    os.close(fd)


def contents():
    d = directory('write', 'a')
    os.link('write/a', 'write/b')
    case(d, ['a', 'b'], lambda: write_at('b', 5000, b'y' * 100000))
    case(d, ['a', 'b'], lambda: os.truncate('a', 300))
    case(d, ['a', 'b'], lambda: os.truncate('b', 1 << 20))
    case(d, ['a', 'b'], lambda: write_at('b', 1 << 19, b'z' * 10))
    for mode, name in [(0, 'prealloc'), (1, 'keep'), (3, 'punch'), (0x10, 'zero'), (0x11, 'zerokeep')]:
        d = directory(name)
        fresh(f'{name}/a', b'x' * 65536)
        os.link(f'{name}/a', f'{name}/b')
        beyond = mode != 3
        case(d, ['a', 'b'], lambda: fallocate('b', mode, 32768 if beyond else 8192, 65536 if beyond else 8192))
    d = directory('copy', 'from')
    fresh('copy/to', b'')
    os.link('copy/to', 'copy/to2')
    case(d, ['from', 'to', 'to2'], lambda: copy_range('from', 'to', 10000))
    d = directory('map', 'a')
    case(d, ['a'], store_through_map)


def store_through_map():
    fd = os.open('a', os.O_RDWR)
    with mmap.mmap(fd, 8192) as m:
        m[100] = 7
        m.flush()
    os.fsync(fd)
    os.close(fd)


def privileges():
    acts = {
        'kill-write': lambda: write_at('f', 0, b'new'),
        'kill-truncate': lambda: os.truncate('f', 5),
        'kill-falloc': lambda: fallocate('f', 0, 0, 20000),
        'kill-punch': lambda: fallocate('f', 3, 0, 8192),
        'kill-copy': lambda: copy_range('from', 'f', 5000),
        'kill-chown': lambda: os.chown('f', -1, 1000),
    }
    for name, act in acts.items():
        d = directory(name, 'f', 'from')
        os.chown(f'{name}/f', 1000, 1000)
        os.chmod(f'{name}/f', 0o6777)
        os.chmod(f'{name}/from', 0o644)
        os.chmod(name, 0o777)
        os.link(f'{name}/f', f'{name}/g')
        case(d, ['f', 'g'], lambda: as_user(act))
        mode = os.stat(f'{name}/g').st_mode & 0o7777
        if name != 'kill-chown':
            assert mode == 0o777, f'{name}: {mode:o}'


def attributes():
    d = directory('acl', 'f', dirs=['d'])
    os.link('acl/f', 'acl/g')
    run = lambda *words: subprocess.run(words, check=True)
    case(d, ['f', 'g'], lambda: run('setfacl', '-m', 'u:1:rwx', 'f'))
    assert os.stat('acl/g').st_mode & 0o777 == 0o674, oct(os.stat('acl/g').st_mode)
    case(d, ['f', 'g'], lambda: run('setfacl', '-b', 'f'))
    case(d, ['d'], lambda: run('setfacl', '-m', 'd:u:1:rwx,u:2:rwx', 'd'))
    case(d, ['d', 'd/made'], lambda: fresh('d/made'))
    case(d, ['f', 'g'], lambda: os.setxattr('f', 'user.x', b'v' * 900))
    case(d, ['f', 'g'], lambda: os.removexattr('f', 'user.x'))
    case(d, ['f', 'g'], lambda: os.chmod('g', 0o604))
    case(d, ['f', 'g'], lambda: os.chown('g', 5, 6))
    case(d, ['f', 'g'], lambda: os.utime('g', ns=(10 ** 18, 10 ** 18 + 7)))
    # A kernel with a writeback cache believes nobody about the times of a file that it has in memory, and chattr does
    # not go through it. A kernel that cannot be notified (UNTOLD=chattr) does not hear of the folder's either.
    files = ['f', 'g'] if sys.argv[4] == 'share=on' else []
    watched = [] if os.environ.get('UNTOLD') == 'chattr' else files + ['d']
    for path in ['f', 'g', 'd']:
        del seen[f'acl/{path}']
    case(d, watched, lambda: run('chattr', '+d', 'f', 'd'))
    case(d, watched, lambda: run('chattr', '-d', 'f', 'd'))


names()
absent_names()
contents()
privileges()
attributes()
fd = os.open('.', os.O_RDONLY)
assert libc.syncfs(fd) == 0
os.close(fd)
with open('/proc/sys/vm/drop_caches', 'w') as f:
    f.write('2')
bad = differences(seen)
with open(sys.argv[3], 'w') as f:
    json.dump(seen, f)
sys.exit('\n'.join(['with the caches dropped:'] + bad) if bad else 0)
PY

judge() { # mount words
	mkimage a.img 64M
	mount_kfs a.img a -o "$1"
	python3 coherence.py first a "$PWD/seen.json" "$1" || fail "attributes seen are not those of the store ($1)"
	remount_kfs a.img a -o "$1"
	python3 coherence.py again a "$PWD/seen.json" || fail "attributes differ after a remount ($1)"
	umount_kfs a
	fsck_clean a.img
}

judge share=off
judge share=on
