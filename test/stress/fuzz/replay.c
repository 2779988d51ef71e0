/*-------------------------------------------------------------------------
 *
 * replay.c
 *		Runs a fuzz target without libFuzzer: each file that is named, each
 *		beginning of it, and it with each bit turned over.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LARGEST 100000

static long inputs = 0;

/* a copy that ends where it ends, for the sanitizer to see */
static void
try(const uint8_t *data, size_t size)
{
	uint8_t    *copy = malloc(size);

	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
	inputs++;
}

static void
try_all(uint8_t *data, size_t size)
{
	for (size_t length = 1; length <= size; length++)
		try(data, length);
	for (size_t bit = 0; bit < 8 * size; bit++)
	{
		data[bit / 8] ^= 1 << bit % 8;
		try(data, size);
		data[bit / 8] ^= 1 << bit % 8;
	}
}

int
main(int count, char **names)
{
	static uint8_t data[LARGEST];

	for (int i = 1; i < count; i++)
	{
		FILE	   *file = fopen(names[i], "rb");

		if (file == NULL)
		{
			perror(names[i]);
			return 1;
		}
		try_all(data, fread(data, 1, sizeof(data), file));
		fclose(file);
	}
	printf("%ld inputs\n", inputs);
	return inputs == 0;
}
