/*
 * A character set for file names, as a module of glibc's iconv: UTF-8 in which no byte is wrong.
 *
 * A name on Linux is bytes, and some are not UTF-8: unpacked on a Windows of long ago, or cut in the middle of a
 * letter. smbd leaves such names out, and with them all that come after in the folder. Here a byte that is part of no
 * letter becomes U+EF80 to U+EFFF, of the private use area, and back. A letter that really is one of those is taken
 * apart into bytes as well, so no two names look the same to the guest.
 *
 * Must not: allocate, keep state, or make a byte below 0x80 of anything but itself; "/" and NUL stay what they are.
 * Source: gconv.h; skeleton.c in glibc's iconv/; RFC 3629.
 */

#include <gconv.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { ESCAPE = 0xEF00, FIRST_ESCAPE = 0xEF80, LAST_ESCAPE = 0xEFFF };

static int from_names;
static int to_names;

int gconv_init(struct __gconv_step *step)
{
	int decodes = strcmp(step->__from_name, "7LBD-NAMES//") == 0;

	step->__data = decodes ? &from_names : &to_names;
	step->__min_needed_from = decodes ? 1 : 2;
	step->__max_needed_from = 4;
	step->__min_needed_to = decodes ? 2 : 1;
	step->__max_needed_to = 4;
	step->__stateful = 0;
	return __GCONV_OK;
}

/* The length of the letter at `in`, and what it is; 0 when the byte there is part of none. */
static size_t letter(const unsigned char *in, const unsigned char *end, uint32_t *is)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length = *in < 0x80 ? 1 : *in < 0xC2 ? 0 : *in < 0xE0 ? 2 : *in < 0xF0 ? 3 : *in < 0xF5 ? 4 : 0;

	if (length == 0 || (size_t)(end - in) < length)
		return 0;
	*is = length == 1 ? *in : *in & (0x7Fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((in[i] & 0xC0) != 0x80)
			return 0;
		*is = *is << 6 | (in[i] & 0x3F);
	}
	if (*is < least[length] || *is > 0x10FFFF || (*is >= 0xD800 && *is < 0xE000))
		return 0;
	return *is >= FIRST_ESCAPE && *is <= LAST_ESCAPE ? 0 : length;
}

static void put16(unsigned char *out, uint32_t unit)
{
	out[0] = (unsigned char)(unit & 0xFF);
	out[1] = (unsigned char)(unit >> 8);
}

static int decode(const unsigned char **in, const unsigned char *end, unsigned char **out, const unsigned char *out_end)
{
	while (*in < end) {
		uint32_t is = 0;
		size_t length = letter(*in, end, &is);

		if (length == 0) {
			is = ESCAPE | **in;
			length = 1;
		}
		if (out_end - *out < (is < 0x10000 ? 2 : 4))
			return __GCONV_FULL_OUTPUT;
		if (is >= 0x10000) {
			put16(*out, 0xD800 + ((is - 0x10000) >> 10));
			put16(*out + 2, 0xDC00 + ((is - 0x10000) & 0x3FF));
			*out += 4;
		} else {
			put16(*out, is);
			*out += 2;
		}
		*in += length;
	}
	return __GCONV_EMPTY_INPUT;
}

/* The letter at `in`, of `*length` bytes; a GCONV code other than OK when there is none. */
static int letter16(const unsigned char *in, const unsigned char *end, uint32_t *is, size_t *length)
{
	uint32_t low;

	*length = 2;
	if (end - in < 2)
		return __GCONV_INCOMPLETE_INPUT;
	*is = in[0] | (uint32_t)in[1] << 8;
	if (*is < 0xD800 || *is > 0xDFFF)
		return __GCONV_OK;
	if (*is > 0xDBFF)
		return __GCONV_ILLEGAL_INPUT;
	if (end - in < 4)
		return __GCONV_INCOMPLETE_INPUT;
	low = in[2] | (uint32_t)in[3] << 8;
	if (low < 0xDC00 || low > 0xDFFF)
		return __GCONV_ILLEGAL_INPUT;
	*is = 0x10000 + ((*is - 0xD800) << 10) + (low - 0xDC00);
	*length = 4;
	return __GCONV_OK;
}

static int encode(const unsigned char **in, const unsigned char *end, unsigned char **out, const unsigned char *out_end)
{
	static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};

	while (*in < end) {
		uint32_t is;
		size_t taken, length;
		int code = letter16(*in, end, &is, &taken);

		if (code != __GCONV_OK)
			return code;
		length = is < 0x80 ? 1 : is < 0x800 ? 2 : is < 0x10000 ? 3 : 4;
		if (is >= FIRST_ESCAPE && is <= LAST_ESCAPE) {
			is &= 0xFF;
			length = 1;
		}
		if ((size_t)(out_end - *out) < length)
			return __GCONV_FULL_OUTPUT;
		for (size_t i = length - 1; i > 0; i--) {
			(*out)[i] = (unsigned char)(0x80 | (is & 0x3F));
			is >>= 6;
		}
		(*out)[0] = (unsigned char)(lead[length] | is);
		*out += length;
		*in += taken;
	}
	return __GCONV_EMPTY_INPUT;
}

/* Always the one and only step of a conversion: names to UTF-16LE, or back. */
int gconv(struct __gconv_step *step, struct __gconv_step_data *data, const unsigned char **in, const unsigned char *end,
	  unsigned char **out, size_t *irreversible, int flush, int consume_incomplete)
{
	unsigned char *here = out ? *out : data->__outbuf;
	int code;

	(void)irreversible;
	(void)consume_incomplete;
	if (flush)
		return __GCONV_OK;
	code = (step->__data == &from_names ? decode : encode)(in, end, &here, data->__outbufend);
	if (out)
		*out = here;
	else
		data->__outbuf = here;
	return code;
}
