// SPDX-License-Identifier: GPL-2.0-only
/*
 * The file `debug' of a cache or a heap: the words for what can be switched on.
 */
#include <linux/ctype.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include "internal.h"

static const struct {
	const char *name;
	unsigned int bit;
} words[] = {
	{ "redzone", PYM_REDZONE },
	{ "poison", PYM_POISON },
	{ "owner", PYM_OWNER },
	{ "freeze", PYM_FREEZE },
};

/* More would be memory in one piece that is hard to get. */
#define QUARANTINE_MAX	4096

static int complain(const char *word)
{
	pr_err("debug: what is '%*pE'? There are: none redzone poison owner freeze quarantine=1..%d guard=1/N\n",
	       (int)strlen(word), word, QUARANTINE_MAX);
	return -EINVAL;
}

/* The number at the end of a word that begins with @what, if that is all of it. */
static bool has_number(const char *word, const char *what, unsigned int max, unsigned int *n)
{
	size_t length = strlen(what);
	unsigned int value;

	if (strncmp(word, what, length) || !isdigit(word[length]) ||
	    kstrtouint(word + length, 10, &value) || !value || value > max)
		return false;
	*n = value;
	return true;
}

static int parse_word(const char *word, struct pym_switches *switches)
{
	unsigned int i;

	if (!strcmp(word, "none"))
		return 0;
	for (i = 0; i < ARRAY_SIZE(words); i++) {
		if (!strcmp(word, words[i].name)) {
			switches->on |= words[i].bit;
			return 0;
		}
	}
	if (has_number(word, "quarantine=", QUARANTINE_MAX, &switches->quarantine) ||
	    has_number(word, "guard=1/", UINT_MAX, &switches->guard))
		return 0;
	return complain(word);
}

/**
 * pym_switches_parse() - what words say
 * @text: the words, with white space between; changed
 * @switches: filled in
 *
 * Context: Any.
 * Return: 0, or -EINVAL, with a line in the log.
 */
int pym_switches_parse(char *text, struct pym_switches *switches)
{
	char *word;
	int err = 0;

	*switches = (struct pym_switches){};
	while (!err) {
		text = skip_spaces(text);
		if (!*text)
			break;
		word = text;
		while (*text && !isspace(*text))
			text++;
		if (*text)
			*text++ = '\0';
		err = parse_word(word, switches);
	}
	return err;
}
EXPORT_SYMBOL_IF_KUNIT(pym_switches_parse);

/**
 * pym_switches_print() - the words for what is on, and a newline
 * @switches: what is on
 * @text: written to
 * @size: room there; PYM_SWITCHES_TEXT is enough
 *
 * Context: Any.
 * Return: the length.
 */
int pym_switches_print(const struct pym_switches *switches, char *text, size_t size)
{
	unsigned int i;
	int n = 0;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (switches->on & words[i].bit)
			n += scnprintf(text + n, size - n, "%s ", words[i].name);
	if (switches->quarantine)
		n += scnprintf(text + n, size - n, "quarantine=%u ", switches->quarantine);
	if (switches->guard)
		n += scnprintf(text + n, size - n, "guard=1/%u ", switches->guard);
	if (!n)
		n = scnprintf(text, size, "none ");
	text[n - 1] = '\n';
	return n;
}
EXPORT_SYMBOL_IF_KUNIT(pym_switches_print);

/* ---------------------------------------------------------------- files -- */

static ssize_t show(const struct pym_switches *switches, char __user *to, size_t n, loff_t *pos)
{
	char text[PYM_SWITCHES_TEXT];

	return simple_read_from_buffer(to, n, pos, text,
				       pym_switches_print(switches, text, sizeof(text)));
}

static int read_words(const char __user *from, size_t n, struct pym_switches *switches)
{
	char text[PYM_SWITCHES_TEXT];

	if (n >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, n))
		return -EFAULT;
	text[n] = '\0';
	return pym_switches_parse(text, switches);
}

static ssize_t cache_read(struct file *file, char __user *to, size_t n, loff_t *pos)
{
	struct pym_cache *cache = file->private_data;
	struct pym_switches switches;

	pym_cache_switches(cache, &switches);
	return show(&switches, to, n, pos);
}

static ssize_t cache_write(struct file *file, const char __user *from, size_t n, loff_t *pos)
{
	struct pym_switches switches;
	int err = read_words(from, n, &switches);

	return err ?: pym_switch_cache(file->private_data, &switches) ?: n;
}

const struct file_operations pym_debug_cache_fops = {
	.owner	= THIS_MODULE,
	.open	= simple_open,
	.read	= cache_read,
	.write	= cache_write,
};

static ssize_t heap_read(struct file *file, char __user *to, size_t n, loff_t *pos)
{
	struct pym_heap *heap = file->private_data;

	return show(&heap->switches, to, n, pos);
}

static ssize_t heap_write(struct file *file, const char __user *from, size_t n, loff_t *pos)
{
	struct pym_switches switches;
	int err = read_words(from, n, &switches);

	return err ?: pym_switch_heap(file->private_data, &switches) ?: n;
}

const struct file_operations pym_debug_heap_fops = {
	.owner	= THIS_MODULE,
	.open	= simple_open,
	.read	= heap_read,
	.write	= heap_write,
};
