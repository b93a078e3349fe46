/* ENCLU in a program that has nothing to do with SGX otherwise.
 *
 * link: all
 */
#include "wild.h"

int main(void)
{
	wild_catch();
	wild_anywhere();
	return 0;
}
