#include "bug.h"

#include <string.h>

enum bug bug_chosen;

#define BUG_TEXT(name) #name,
static const char *const names[] = {"none", BUG_LIST(BUG_TEXT)};

const char *bug_text(enum bug bug)
{
    return names[bug];
}

bool bug_choose(const char *text)
{
    for (unsigned number = 1; number < BUG_COUNT; number++) {
        const char *name = names[number];
        size_t i = 0;
        while (name[i] && (name[i] == text[i] || (name[i] == '_' && text[i] == '-')))
            i++;
        if (name[i] || text[i])
            continue;
        bug_chosen = (enum bug)number;
        return true;
    }
    return false;
}
