/* SPDX-License-Identifier: MIT */
/* A solution of exercise 8, and wrong ones with what is said of each:
 * wrong 1: inputs of inputs are needed too, all the way down
 * wrong 2: it comes after the outputs
 * wrong 3: no needed node reads it; that it comes before an output
 * wrong 4: a node that is read twice is one node: count nodes, not readers
 * wrong 5: it is an output: the caller reads it when all is done
 * wrong 6: that is the first that reads it; it must live until the last
 * wrong 7: last held 9 before your code
 * wrong 8: that one must not be written over it (last[j] >= i, not > i)
 * wrong 9: after moving above one node, look at all of them again
 * wrong 10: memory of a node that is read no more (last[j] < i) is free
 * wrong 11: that is the end of the last node; the largest end is the peak
 * wrong 12: there is room further down, where dead nodes were
 * wrong 13: that is the largest offset
 * wrong 14: your walk down begins at node 2, and an output is above it
 * wrong 15: it is not an output: out has n_out of them
 * wrong 16: look again until nothing is in its way, not a number of times
 */
int needed(int n, const node *nodes, int n_out, const int *out, bool *need)
{
    int count = 0;
    for (int i = 0; i < n; i++) need[i] = WRONG == 2;
    for (int k = 0; k < n_out; k++) need[out[k]] = true;
    for (int m = 0; m < n; m++) {
        int i = WRONG == 1 ? m : n - 1 - m;
        if (WRONG == 14 && i > out[0]) continue;
        if (WRONG == 3 && i < out[0]) need[i] = true;
        if (need[i]) count++;
        for (int k = 0; k < 2 && need[i]; k++)
            if (nodes[i].input[k] >= 0) {
                if (WRONG == 4 && need[nodes[i].input[k]]) count++;
                need[nodes[i].input[k]] = true;
            }
    }
    return count;
}

void last_use(int n, const node *nodes, int n_out, const int *out, int *last)
{
    for (int i = 0; i < n && WRONG != 7; i++) last[i] = i;
    for (int m = 0; m < n; m++)
        for (int i = WRONG == 6 ? n - 1 - m : m, k = 0; k < 2; k++)
            if (nodes[i].input[k] >= 0) last[nodes[i].input[k]] = i;
    if (WRONG == 15) n_out = 2;
    for (int k = 0; k < n_out && WRONG != 5; k++) last[out[k]] = n;
}

int plan(int n, const node *nodes, const int *last, int *offset)
{
    int peak = 0;
    for (int i = 0; i < n; i++) {
        int at = WRONG == 12 && i == 5 ? peak : 0, end = 0, passes = 1;
        for (int j = 0; j < i; j++) {
            bool lives = WRONG == 10 || last[j] > i || (last[j] == i && WRONG != 8);
            if (lives && offset[j] < at + nodes[i].bytes &&
                at < offset[j] + nodes[j].bytes) {
                at = offset[j] + nodes[j].bytes;
                if (WRONG != 9 && (WRONG != 16 || passes++ < 3)) j = -1;
            }
        }
        offset[i] = at;
        end = at + (WRONG == 13 ? 0 : nodes[i].bytes);
        if (peak < end || WRONG == 11) peak = end;
    }
    return peak;
}
