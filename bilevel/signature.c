/* SPDX-License-Identifier: MIT */
/* signature.c: the programs of a bilevel. Read next: record/record.h, which cuts them,
 * and call.c, which runs them. */
#include "bilevel_internal.h"

#define IN(...)    .in = {__VA_ARGS__}
#define OUT(...)   .out = {__VA_ARGS__}
#define STEP_IN    HTI_THETA, HTI_STATE, HTI_ETA, HTI_BATCH, HTI_STEP
#define REVERSE_IN STEP_IN, HTI_NEXT_THETA, HTI_NEXT_STATE, COTANGENTS
#define SECOND_IN  STEP_IN, HTI_NEXT_THETA, HTI_NEXT_STATE, TANGENTS
#define TANGENTS   HTI_THETA_TANGENT, HTI_STATE_TANGENT
#define COTANGENTS HTI_THETA_COTANGENT, HTI_STATE_COTANGENT, HTI_ETA_COTANGENT

/* clang-format off */
const hti_signature hti_signatures[HTI_SIGNATURES] = {
    [HTI_INITIAL] = {"initial values", HT_BAD_TRAINING,
        IN(HTI_ETA, HTI_THETA), OUT(HTI_THETA)},
    [HTI_INITIAL_REVERSE] = {"initial values, reverse", HT_BAD_DERIVATIVE,
        IN(HTI_ETA, HTI_THETA, HTI_THETA_COTANGENT, HTI_ETA_COTANGENT),
        OUT(HTI_ETA_COTANGENT)},
    [HTI_INITIAL_TANGENT] = {"initial values, tangent", HT_BAD_DERIVATIVE,
        IN(HTI_ETA, HTI_THETA, HTI_ETA_TANGENT), OUT(HTI_THETA_TANGENT)},
    [HTI_FORWARD] = {"step", HT_BAD_TRAINING,
        IN(STEP_IN), OUT(HTI_THETA, HTI_STATE, HTI_SQUARE)},
    [HTI_FORWARD_KEPT] = {"step, products kept", HT_BAD_TRAINING,
        IN(STEP_IN), OUT(HTI_THETA, HTI_STATE, HTI_PRODUCTS)},
    [HTI_REVERSE_STEP] = {"step, reverse", HT_BAD_DERIVATIVE,
        IN(REVERSE_IN), OUT(COTANGENTS)},
    [HTI_REVERSE_KEPT] = {"step, reverse with products kept", HT_BAD_DERIVATIVE,
        IN(REVERSE_IN, HTI_PRODUCTS), OUT(COTANGENTS)},
    [HTI_TANGENT] = {"step, tangent", HT_BAD_DERIVATIVE,
        IN(STEP_IN, HTI_THETA_TANGENT, HTI_STATE_TANGENT, HTI_ETA_TANGENT),
        OUT(HTI_THETA_TANGENT, HTI_STATE_TANGENT)},
    [HTI_OUTER_LOSS] = {"outer loss and its gradient", HT_BAD_OUTER,
        IN(HTI_THETA, HTI_ETA, HTI_OUTER_BATCH, HTI_STEP, HTI_PICK),
        OUT(HTI_LOSS, HTI_THETA_GRADIENT, HTI_ETA_GRADIENT)},
    [HTI_INNER_LOSS] = {"inner loss", HT_BAD_TRAINING,
        IN(HTI_THETA, HTI_ETA, HTI_BATCH, HTI_STEP), OUT(HTI_LOSS)},
    [HTI_INNER_GRADIENT] = {"inner loss's gradient", HT_BAD_TRAINING,
        IN(HTI_THETA, HTI_ETA, HTI_BATCH, HTI_STEP),
        OUT(HTI_THETA_GRADIENT, HTI_ETA_GRADIENT)},
    [HTI_RESIDUAL] = {"what the rule descends", HT_BAD_TRAINING,
        IN(STEP_IN), OUT(HTI_THETA_GRADIENT)},
    [HTI_DESCENT] = {"what momentum adds up", HT_BAD_TRAINING,
        IN(HTI_THETA, HTI_ETA, HTI_BATCH, HTI_STEP), OUT(HTI_STATE)},
    [HTI_SPEEDS_NOW] = {"rate and momentum", HT_BAD_TRAINING,
        IN(HTI_ETA, HTI_STEP), OUT(HTI_SPEEDS)},
    [HTI_PRODUCT] = {"product with the second derivative", HT_BAD_DERIVATIVE,
        IN(SECOND_IN), OUT(TANGENTS)},
    [HTI_TRANSPOSED] = {"product with its transpose", HT_BAD_DERIVATIVE,
        IN(SECOND_IN), OUT(TANGENTS)},
    [HTI_MIXED] = {"product with the mixed second derivative", HT_BAD_DERIVATIVE,
        IN(SECOND_IN, HTI_ETA_COTANGENT), OUT(HTI_ETA_COTANGENT)},
    [HTI_UPDATE] = {"update", HT_BAD_TRAINING,
        IN(HTI_THETA, HTI_STATE, HTI_ETA, HTI_STEP, HTI_THETA_GRADIENT),
        OUT(HTI_THETA, HTI_STATE)},
    [HTI_UPDATE_VJP] = {"update, reverse", HT_BAD_DERIVATIVE,
        IN(HTI_THETA, HTI_STATE, HTI_ETA, HTI_STEP, HTI_THETA_GRADIENT, HTI_NEXT_THETA,
           HTI_NEXT_STATE, HTI_THETA_COTANGENT, HTI_STATE_COTANGENT),
        OUT(COTANGENTS, HTI_THETA_GRADIENT)},
};

#define SET(name) offsetof(hti_problem, name)
static const size_t set_of[HTI_OPERANDS] = {
    [HTI_THETA] = SET(theta), [HTI_STATE] = SET(state), [HTI_ETA] = SET(eta),
    [HTI_BATCH] = SET(inner_data), [HTI_OUTER_BATCH] = SET(outer_data),
    [HTI_NEXT_THETA] = SET(theta), [HTI_NEXT_STATE] = SET(state),
    [HTI_THETA_GRADIENT] = SET(theta), [HTI_ETA_GRADIENT] = SET(gradient),
    [HTI_THETA_COTANGENT] = SET(theta), [HTI_STATE_COTANGENT] = SET(state),
    [HTI_ETA_COTANGENT] = SET(gradient), [HTI_THETA_TANGENT] = SET(theta),
    [HTI_STATE_TANGENT] = SET(state), [HTI_ETA_TANGENT] = SET(gradient)};
/* clang-format on */

/* No set is the first member, whose offset is 0. */
const ht_set *hti_operand_set(const ht_bilevel *b, hti_operand operand)
{
    const char *problem = (const char *)&b->problem;
    size_t at = set_of[operand];
    return at ? *(ht_set *const *)(const void *)(problem + at) : NULL;
}

int hti_operand_count(const ht_bilevel *b, hti_operand operand)
{
    const ht_set *set = hti_operand_set(b, operand);
    if (set) return set->n;
    if (operand == HTI_END) return 0;
    return operand == HTI_PRODUCTS ? b->programs.n_kept : 1;
}
