/*
 * Preloaded below AddressSanitizer: where translated messages would be, nobody
 * looks.
 */
extern char *bindtextdomain(const char *domain, const char *directory);

char *
bindtextdomain(const char *domain, const char *directory)
{
	(void) domain;
	return (char *) directory;
}
