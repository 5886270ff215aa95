/* SPDX-License-Identifier: MIT */
/* Marks exercise 8: needs against the definition, lives against all readers, an arena by
 * what may not overlap, by what could lie lower, and by its peak. */
#include EXERCISE

enum { MOST = 20 };

/* u; e reads u, s reads e, q reads u twice, y (5) reads q and s; 4, 6 and 7 are dead. */
static const node small[] = {{128, {-1, -1}}, {128, {0, -1}}, {8, {1, -1}},
                             {128, {0, 0}},   {64, {3, -1}},  {128, {3, 2}},
                             {32, {5, -1}},   {16, {4, -1}}};
enum { SMALL = 8, Y = 5 };

/* Whether there is a path from i up to node j. */
static bool reaches(const node *nodes, int i, int j)
{
    if (i == j) return true;
    for (int k = 0; k < 2; k++)
        if (nodes[j].input[k] >= i && reaches(nodes, i, nodes[j].input[k])) return true;
    return false;
}

static bool reads(const node *nodes, int j, int i)
{
    return nodes[j].input[0] == i || nodes[j].input[1] == i;
}

/* A walk down that begins at `start` leaves out what larger outputs read, and does not
 * count them. */
static void check_start(const char *what, int n, const node *nodes, int n_out,
                        const int *out, int start, const bool *need, int count)
{
    bool walked[MOST] = {false};
    for (int k = 0; k < n_out; k++) walked[out[k]] = true;
    for (int i = start; i >= 0; i--) {
        count -= walked[i];
        for (int k = 0; k < 2 && walked[i]; k++)
            if (nodes[i].input[k] >= 0) walked[nodes[i].input[k]] = true;
    }
    bool above = false;
    for (int k = 0; k < n_out; k++) above = above || out[k] > start;
    if (above && !count && !memcmp(walked, need, (size_t)n * sizeof *need))
        mark_wrong("%s: your walk down begins at node %d, and an output is above it: the "
                   "outputs are in any order, so begin at node n - 1, here %d",
                   what, start, n - 1);
}

static void check_needs(const char *what, int n, const node *nodes, int n_out,
                        const int *out)
{
    bool need[MOST];
    int right = 0, all_up_to = 0, readings = n_out;
    for (int i = 0; i < MOST; i++) need[i] = i % 2;
    int count = needed(n, nodes, n_out, out, need);
    check_start(what, n, nodes, n_out, out, out[0], need, count);
    check_start(what, n, nodes, n_out, out, out[n_out - 1], need, count);
    for (int i = n - 1; i >= 0; i--) {
        bool is = false, output = false, direct = false;
        for (int k = 0; k < n_out; k++) {
            is = is || reaches(nodes, i, out[k]);
            output = output || out[k] == i;
            direct = direct || reads(nodes, out[k], i);
            if (all_up_to <= out[k]) all_up_to = out[k] + 1;
        }
        right += is;
        if (is) readings += (nodes[i].input[0] >= 0) + (nodes[i].input[1] >= 0);
        if (need[i] == is) continue;
        const char *why =
            output   ? "it is an output"
            : direct ? "an output reads it"
            : is     ? "a needed node reads it: inputs of inputs are needed too, "
                       "all the way down"
            : i >= all_up_to
                ? "it comes after the outputs"
                : "no needed node reads it; that it comes before an output, or "
                  "reads a needed node, is not enough (need is not cleared "
                  "before)";
        mark_wrong("%s: node %d is said to be %s, and is %s: %s", what, i,
                   need[i] ? "needed" : "dead", is ? "needed" : "dead", why);
    }
    mark_number(
        count, right, 0,
        SLIPS({right - n_out, "outputs are needed, so count them too"},
              {readings, "a node that is read twice is one node: count nodes, not "
                         "readers"},
              {n, "that is all nodes"}, {0, "nothing is counted"}),
        "%s: how many are needed", what);
}

/* Its inputs lie far below: a walk that looks at each node's inputs once, from the first
 * node up, misses them. */
static const node deep[] = {{8, {-1, -1}}, {8, {0, -1}}, {8, {1, 1}}, {8, {0, -1}},
                            {8, {2, -1}},  {8, {3, -1}}, {8, {4, 2}}};

static void check_needed(void)
{
    check_needs("y = node 5 of 8", SMALL, small, 1, (int[]){Y});
    check_needs("node 6, six steps deep", 7, deep, 1, (int[]){6});
    check_needs("two outputs, nodes 3 and 2", 7, deep, 2, (int[]){3, 2});
    check_needs("two outputs, nodes 2 and 3", 7, deep, 2, (int[]){2, 3});
    check_needs("two outputs, nodes 2 and 5", 7, deep, 2, (int[]){2, 5});
    check_needs("two outputs, nodes 5 and 2", 7, deep, 2, (int[]){5, 2});
    check_needs("three outputs, nodes 4, 7 and 1", SMALL, small, 3, (int[]){4, 7, 1});
}

static void check_last_of(const char *what, int n_out, const int *out)
{
    int last[MOST];
    for (int i = 0; i < MOST; i++) last[i] = 9;
    last_use(SMALL, small, n_out, out, last);
    for (int i = 0; i < SMALL; i++) {
        int first = -1, right = i;
        for (int j = SMALL - 1; j > i; j--)
            if (reads(small, j, i)) {
                first = j;
                if (right == i) right = j;
            }
        int reader = right;
        for (int k = 0; k < n_out; k++)
            if (out[k] == i) right = SMALL;
        mark_number(
            last[i], right, 0,
            SLIPS(
                {9, "last held 9 before your code: it is i where nobody reads the node"},
                {right == SMALL ? reader : -9,
                 "it is an output: the caller reads it when all is done, at time n"},
                {SMALL, "it is not an output: out has n_out of them, and what comes "
                        "after these in memory is none"},
                {SMALL - 1, "nobody reads it that late; an output lives to n, the others "
                            "to their last reader"},
                {first, "that is the first that reads it; it must live until the last"},
                {-1, "it lives at its own time at least"}),
            "8 nodes, %s: last[%d]", what, i);
    }
}

/* What stands in `out` after the n_out outputs is a node, and not an output. */
static void check_last_use(void)
{
    check_last_of("outputs 2 and 5", 2, (int[]){2, Y, 0});
    check_last_of("one output, 5", 1, (int[]){Y, 2, 0});
    check_last_of("outputs 5, 1 and 7", 3, (int[]){Y, 1, 7, 0});
}

/* Where it would be right to put node i, the others before it being where they are. */
static int lowest(const node *nodes, const int *last, const int *offset, int i)
{
    for (int at = 0;; at++) {
        bool free = true;
        for (int j = 0; j < i && free; j++)
            free = last[j] < i || offset[j] + nodes[j].bytes <= at ||
                   at + nodes[i].bytes <= offset[j];
        if (free) return at;
    }
}

static void check_place(const char *what, const node *nodes, const int *last,
                        const int *offset, int i)
{
    for (int j = 0; j < i; j++) {
        bool over = offset[j] < offset[i] + nodes[i].bytes &&
                    offset[i] < offset[j] + nodes[j].bytes;
        if (over && last[j] >= i)
            mark_wrong(
                "%s: node %d is at %d .. %d, node %d at %d .. %d while it lives (to time "
                "%d): %s",
                what, i, offset[i], offset[i] + nodes[i].bytes, j, offset[j],
                offset[j] + nodes[j].bytes, last[j],
                last[j] == i
                    ? "a node is read until its last reader is done, so that one "
                      "must not be written over it (last[j] >= i, not > i)"
                    : "the two would overwrite each other; after moving above "
                      "one node, look at all of them again");
    }
}

static void check_plan_of(const char *what, int n, const node *nodes, const int *last)
{
    int offset[MOST], right = 0, sum = 0, most = 0;
    for (int i = 0; i < MOST; i++) offset[i] = -1000;
    int peak = plan(n, nodes, last, offset);
    for (int i = 0; i < n; i++) {
        if (offset[i] < 0)
            mark_wrong("%s: offset[%d] is %d%s", what, i, offset[i],
                       offset[i] == -1000 ? ", what it was before your code" : "");
        check_place(what, nodes, last, offset, i);
        int low = lowest(nodes, last, offset, i);
        mark_number(
            offset[i], low, 0,
            SLIPS({sum, "that is the end of all nodes before it: memory of a node "
                        "that is read no more (last[j] < i) is free"},
                  {right, "that is above everything used so far; there is room "
                          "further down, where dead nodes were"}),
            "%s: first fit for node %d, the lowest offset that is free", what, i);
        if (right < offset[i] + nodes[i].bytes) right = offset[i] + nodes[i].bytes;
        if (most < offset[i]) most = offset[i];
        sum += nodes[i].bytes;
    }
    mark_number(peak, right, 0,
                SLIPS({sum, "that is the sum of all bytes; they take turns in one place"},
                      {offset[n - 1] + nodes[n - 1].bytes,
                       "that is the end of the last node; the largest end is the peak"},
                      {most, "that is the largest offset; a node's own bytes come to it"},
                      {0, "nothing is returned"}),
                "%s: the peak", what);
}

/* Every second node lives on, each below the one before: what moves up from below, and
 * looks at nodes 0, 1, .., has to look again after each. Where all live, what looks at
 * the last first has to. */
static void check_moves(void)
{
    enum { MOVES = 8, NODES = 2 * MOVES + 1 };
    node down[NODES], up[NODES];
    int last[NODES], all[NODES];
    for (int i = 0; i < NODES; i++) {
        down[i] = (node){i % 2 ? 8 : 8 * (MOVES - i / 2), {-1, -1}};
        up[i] = (node){8, {-1, -1}};
        last[i] = i % 2 ? NODES : i + 1, all[i] = NODES;
    }
    down[NODES - 1].bytes = 16;
    const char *again = "17 nodes, the last of which has to move up 8 times, past one "
                        "after the other (look again until nothing is in its way, not a "
                        "number of times)";
    check_plan_of(again, NODES, down, last);
    check_plan_of("17 nodes of 8 bytes that all live on", NODES, up, all);
}

static void check_plan(void)
{
    const node gaps[] = {{64, {-1, -1}}, {64, {0, -1}}, {64, {1, -1}}, {32, {2, -1}},
                         {96, {3, -1}},  {8, {4, -1}},  {40, {2, 5}}};
    check_plan_of("nodes of 64, 64, 64, 32, 96, 8, 40 bytes", 7, gaps,
                  (int[]){1, 6, 6, 4, 5, 6, 7});
    check_plan_of("nodes of 128, 128, 8, 128, 64, 128, 32, 16 bytes", SMALL, small,
                  (int[]){3, 2, 5, 5, 7, 8, 6, 7});
    check_moves();
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"needed",
         check_needed,
         {"begin at the outputs: they are needed; then what they read",
          "go from the last node to the first: users come before what they use, so that "
          "one pass is enough",
          "clear need; set need[out[k]]; then for i from n - 1 down, if need[i], count "
          "it "
          "and set need of its inputs that are not -1"}},
        {"last_use",
         check_last_use,
         {"every node sets last of its inputs; a later reader overwrites an earlier one",
          "last[i] = i first; when j comes, last[input] = j; outputs after all that",
          "for each i in order: last[i] = i, and last[nodes[i].input[k]] = i for inputs "
          "that are not -1; at the end last[out[k]] = n"}},
        {"plan",
         check_plan,
         {"begin each node at offset 0, and move it up while something is in its way",
          "in the way is j < i with last[j] >= i and overlapping bytes; then go to the "
          "end "
          "of j, and look at all j again, since there may be another there",
          "int at = 0; for (int j = 0; j < i; j++) if (last[j] >= i && offset[j] < at + "
          "bytes of i && at < end of j) at = end of j, j = -1;"}},
    };
    return mark_exercise(argc, argv, 8, holes, sizeof holes / sizeof *holes);
}
