/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_object_file.c: the header of an object's file on a storage node, as it comes and with magic, format and checksum made right; the
 * names of such files; and the texts of a drive.
 */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "node/drive_set.h"
#include "node/object_file.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is accepted is valid in all its parts and is encoded to itself. */
static void decode(const uint8_t bytes[OBJECT_FILE_HEADER])
{
	uint8_t encoded[OBJECT_FILE_HEADER];
	struct object_header h;
	struct error err = { 0 };
	int rc = object_header_decode(bytes, &h, &err);

	if (rc < 0) {
		if (err.code != rc || !err.text[0])
			abort();
		return;
	}
	if (!object_name_valid(h.entry.name) || h.entry.meta.length > OBJECT_LENGTH_MAX ||
	    object_version_is_none(h.entry.meta.version) || object_file_bytes(&h.entry.meta) < OBJECT_FILE_HEADER)
		abort();
	object_header_encode(&h, encoded);
	if (memcmp(encoded, bytes, sizeof encoded) != 0)
		abort();
}

static void parse_texts(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), again[OBJECT_FILE_NAME];
	static struct drive_list list;
	struct drive_identity id;
	struct object_file_id file;

	if (!text)
		return;
	memcpy(text, data, size);
	text[size] = '\0';
	if (object_file_name_parse(text, &file) == 0) {
		object_file_name(&file, again);
		if (strcmp(text, again) != 0 || object_file_dir(&file) >= OBJECT_DIRS)
			abort();
	}
	(void)drive_identity_parse(text, &id, NULL);
	if (drive_list_parse(text, &list, NULL) == 0 && list.count > DRIVE_LIST_MAX)
		abort();
	free(text);
}

/* The text with its last line replaced by one with the right checksum. */
static void parse_signed_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 32);

	if (!text)
		return;
	memcpy(text, data, size);
	text[size] = '\n';
	int n = snprintf(text + size + 1, 31, "checksum %08x\n", crc32c(0, text, size + 1));
	parse_texts((const uint8_t *)text, size + 1 + (size_t)n);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[OBJECT_FILE_HEADER] = { 0 };

	memcpy(bytes, data, size < sizeof bytes ? size : sizeof bytes);
	decode(bytes);
	memcpy(bytes, "GARNOBJ\n", 8);
	put_le32(bytes + 8, 1);
	put_le32(bytes + OBJECT_FILE_HEADER - 4, crc32c(0, bytes, OBJECT_FILE_HEADER - 4));
	decode(bytes);
	parse_texts(data, size);
	parse_signed_text(data, size);
	return 0;
}
