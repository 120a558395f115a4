/* SPDX-License-Identifier: GPL-3.0-only */
/* record_vfs.c: a SQLite VFS around the default one that puts what SQLite does to its files into a recording.
 *
 * Reads, locks and shared memory pass through. Mapped I/O is not offered, so that every change of a file is an xWrite. The
 * default VFS syncs the directory of a new journal or WAL at the first sync of that file, and of a deleted one when asked to;
 * so does the recording.
 */
#include "lib/recording.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

struct vfs_file {
	sqlite3_file base;
	sqlite3_file *real;
	uint32_t ino;    /* 0: not recorded */
	uint32_t new_in; /* directory to be synced with the first sync; 0: none */
};

static struct {
	sqlite3_vfs vfs;
	sqlite3_vfs *real;
	struct recording *recording;
} shim;

static sqlite3_file *real_of(sqlite3_file *f)
{
	return ((struct vfs_file *)f)->real;
}

static int vfs_close(sqlite3_file *file)
{
	struct vfs_file *f = (struct vfs_file *)file;
	int rc = f->real->pMethods->xClose(f->real);

	free(f->real);
	return rc;
}

static int vfs_read(sqlite3_file *f, void *buf, int len, sqlite3_int64 offset)
{
	return real_of(f)->pMethods->xRead(real_of(f), buf, len, offset);
}

static int vfs_write(sqlite3_file *file, const void *buf, int len, sqlite3_int64 offset)
{
	struct vfs_file *f = (struct vfs_file *)file;
	struct iovec iov = { (void *)(uintptr_t)buf, (size_t)len };
	size_t op = SIZE_MAX;
	int rc;

	if (f->ino)
		op = recording_begin_write(shim.recording, f->ino, false, &iov, 1, (uint64_t)offset);
	rc = f->real->pMethods->xWrite(f->real, buf, len, offset);
	if (op != SIZE_MAX)
		recording_end(shim.recording, op, rc == SQLITE_OK);
	return rc;
}

static int vfs_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	struct vfs_file *f = (struct vfs_file *)file;
	size_t op = SIZE_MAX;
	int rc;

	if (f->ino)
		op = recording_begin(shim.recording,
		                     &(struct op){ .kind = OP_TRUNCATE, .ino = f->ino, .len = (uint64_t)size });
	rc = f->real->pMethods->xTruncate(f->real, size);
	if (op != SIZE_MAX)
		recording_end(shim.recording, op, rc == SQLITE_OK);
	return rc;
}

static int vfs_sync(sqlite3_file *file, int flags)
{
	struct vfs_file *f = (struct vfs_file *)file;
	size_t op = SIZE_MAX, dir_op = SIZE_MAX;
	int rc;

	if (f->ino && !recording_forgets(shim.recording, f->ino)) {
		op = recording_begin(shim.recording, &(struct op){ .kind = OP_SYNC, .ino = f->ino });
		if (f->new_in)
			dir_op = recording_begin(shim.recording, &(struct op){ .kind = OP_SYNC_DIR, .ino = f->new_in });
	}
	rc = f->real->pMethods->xSync(f->real, flags);
	if (op != SIZE_MAX)
		recording_end(shim.recording, op, rc == SQLITE_OK);
	if (dir_op != SIZE_MAX)
		recording_end(shim.recording, dir_op, rc == SQLITE_OK);
	if (rc == SQLITE_OK)
		f->new_in = 0;
	return rc;
}

static int vfs_file_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return real_of(f)->pMethods->xFileSize(real_of(f), size);
}

static int vfs_lock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int vfs_unlock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int vfs_check_reserved(sqlite3_file *f, int *out)
{
	return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}

static int vfs_control(sqlite3_file *f, int op, void *arg)
{
	if (op == SQLITE_FCNTL_MMAP_SIZE || op == SQLITE_FCNTL_SIZE_HINT || op == SQLITE_FCNTL_CHUNK_SIZE)
		return SQLITE_NOTFOUND; /* these would change the file behind the recording */
	return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int vfs_sector_size(sqlite3_file *f)
{
	return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int vfs_characteristics(sqlite3_file *f)
{
	return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static int vfs_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
	return real_of(f)->pMethods->xShmMap(real_of(f), page, size, extend, out);
}

static int vfs_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	return real_of(f)->pMethods->xShmLock(real_of(f), offset, n, flags);
}

static void vfs_shm_barrier(sqlite3_file *f)
{
	real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static int vfs_shm_unmap(sqlite3_file *f, int delete)
{
	return real_of(f)->pMethods->xShmUnmap(real_of(f), delete);
}

static const sqlite3_io_methods vfs_methods = {
	.iVersion = 2, /* 3 would have mapped reading */
	.xClose = vfs_close,
	.xRead = vfs_read,
	.xWrite = vfs_write,
	.xTruncate = vfs_truncate,
	.xSync = vfs_sync,
	.xFileSize = vfs_file_size,
	.xLock = vfs_lock,
	.xUnlock = vfs_unlock,
	.xCheckReservedLock = vfs_check_reserved,
	.xFileControl = vfs_control,
	.xSectorSize = vfs_sector_size,
	.xDeviceCharacteristics = vfs_characteristics,
	.xShmMap = vfs_shm_map,
	.xShmLock = vfs_shm_lock,
	.xShmBarrier = vfs_shm_barrier,
	.xShmUnmap = vfs_shm_unmap,
};

/* Opens the file for real and finds its number in the recording. */
static int open_recorded(const char *name, struct vfs_file *f, int flags, int *out_flags)
{
	struct recording *r = shim.recording;
	int open_flags = flags & SQLITE_OPEN_CREATE ? O_CREAT : 0;
	struct opening o;
	char buf[4096];
	const char *last;
	uint32_t dir;
	int rc;

	if (!name)
		return shim.real->xOpen(shim.real, name, f->real, flags, out_flags);
	pthread_mutex_lock(&r->names_lock);
	recording_opening(r, name, open_flags, 0644, &o);
	rc = shim.real->xOpen(shim.real, name, f->real, flags, out_flags);
	f->ino = recording_opened(r, name, &o, rc == SQLITE_OK);
	if (f->ino && !o.existed && flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL) &&
	    recording_resolve(r, name, buf, &dir, &last))
		f->new_in = dir;
	pthread_mutex_unlock(&r->names_lock);
	return rc;
}

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *out_flags)
{
	struct vfs_file *f = (struct vfs_file *)file;
	int rc;

	(void)vfs;
	memset(f, 0, sizeof *f);
	f->real = calloc(1, (size_t)shim.real->szOsFile);
	if (!f->real)
		return SQLITE_NOMEM;
	rc = open_recorded(name, f, flags, out_flags);
	if (rc != SQLITE_OK) {
		free(f->real);
		f->real = NULL;
		return rc;
	}
	f->base.pMethods = &vfs_methods;
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
	struct recording *r = shim.recording;
	size_t op, dir_op = SIZE_MAX;
	char buf[4096];
	const char *last;
	uint32_t dir;
	int rc;

	(void)vfs;
	pthread_mutex_lock(&r->names_lock);
	op = recording_removing(r, name);
	rc = shim.real->xDelete(shim.real, name, sync_dir);
	recording_removed(r, name, op, rc == SQLITE_OK);
	if (sync_dir && rc == SQLITE_OK && op != SIZE_MAX && recording_resolve(r, name, buf, &dir, &last))
		dir_op = recording_begin(r, &(struct op){ .kind = OP_SYNC_DIR, .ino = dir });
	if (dir_op != SIZE_MAX)
		recording_end(r, dir_op, true);
	pthread_mutex_unlock(&r->names_lock);
	return rc;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	(void)vfs;
	return shim.real->xAccess(shim.real, name, flags, out);
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int n, char *out)
{
	(void)vfs;
	return shim.real->xFullPathname(shim.real, name, n, out);
}

static int vfs_randomness(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs;
	return shim.real->xRandomness(shim.real, n, out);
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
	(void)vfs;
	return shim.real->xSleep(shim.real, us);
}

static int vfs_current_time(sqlite3_vfs *vfs, double *t)
{
	(void)vfs;
	return shim.real->xCurrentTime(shim.real, t);
}

static int vfs_last_error(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs;
	return shim.real->xGetLastError(shim.real, n, out);
}

int record_vfs_install(struct recording *r)
{
	if (shim.recording)
		return -EBUSY;
	shim.real = sqlite3_vfs_find(NULL);
	if (!shim.real)
		return -ENOENT;
	shim.recording = r;
	shim.vfs = (sqlite3_vfs){
		.iVersion = 1,
		.szOsFile = sizeof(struct vfs_file),
		.mxPathname = shim.real->mxPathname,
		.zName = "garner-recorder",
		.xOpen = vfs_open,
		.xDelete = vfs_delete,
		.xAccess = vfs_access,
		.xFullPathname = vfs_full_path,
		.xRandomness = vfs_randomness,
		.xSleep = vfs_sleep,
		.xCurrentTime = vfs_current_time,
		.xGetLastError = vfs_last_error,
	};
	return sqlite3_vfs_register(&shim.vfs, 1) == SQLITE_OK ? 0 : -ENOMEM;
}

void record_vfs_remove(void)
{
	if (!shim.recording)
		return;
	sqlite3_vfs_unregister(&shim.vfs);
	sqlite3_vfs_register(shim.real, 1);
	shim.recording = NULL;
}
