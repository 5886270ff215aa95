/* SPDX-License-Identifier: MIT */
/* trial.c: three problems, and twelve ways to a hypergradient of each. Read next:
 * hypergradients.c. */
#include "trial.h"

#include <math.h>

const char *const problem_names[] = {"cleaning", "penalties", "rates"};
const char *const method_names[] = {"exact",
                                    "last T/2",
                                    "last T/5",
                                    "last 5",
                                    "one step",
                                    "implicit, solved",
                                    "implicit, series",
                                    "first order",
                                    "identity",
                                    "DARTS",
                                    "SAMA, alpha 1",
                                    "SAMA, alpha 0.01"};
enum { TRAIN = 200, VALIDATION = 300, PRODUCTS = 20 };
#define DAMPING 0.01
#define RATE    0.1

/* The problems. */

static lab_model model_of(const trial *t)
{
    return t->which == CLEANING ? LAB_SOFTMAX : LAB_GELU;
}

static ht_var outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)eta;
    return ht_mean(lab_losses(model_of(user), theta, batch));
}

static ht_var cleaning(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                       void *user)
{
    ht_var w = ht_sigmoid(ht_get(eta, "w"));
    return ht_mean(ht_mul(w, lab_losses(model_of(user), theta, batch)));
}

static ht_var penalties(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                        void *user)
{
    ht_var loss = outer(theta, eta, batch, user);
    for (int i = 0; i < ht_vars_count(eta); i++) {
        ht_var w = ht_get(theta, ht_vars_name(eta, i));
        ht_var pull = ht_mul(ht_exp(ht_vars_at(eta, i)), ht_square(w));
        loss = ht_add(loss, ht_mul(0.5, ht_sum(pull)));
    }
    return loss;
}

static void fill_eta(trial *t)
{
    ht_set *eta = t->eta;
    if (t->which == CLEANING) {
        ht_set_add(eta, "w", HT_F64, HT_SHAPE(TRAIN));
    } else if (t->which == PENALTIES) {
        for (int i = 0; i < ht_set_count(t->theta); i++) {
            ht_shape shape = ht_tensor_shape(ht_set_at(t->theta, i));
            if (shape.rank == 2)
                ht_tensor_fill(ht_set_add(eta, ht_set_name(t->theta, i), HT_F64, shape),
                               log(1e-3));
        }
    } else {
        ht_shape shape = HT_SHAPE(t->steps, ht_set_count(t->theta));
        ht_tensor_fill(ht_set_add(eta, "rate", HT_F64, shape), log(RATE));
    }
}

static const ht_loss_fn inner_of[] = {cleaning, penalties, outer};

static void trial_problem(trial *t)
{
    t->problem = (ht_bilevel_problem){.inner = inner_of[t->which],
                                      .outer = outer,
                                      .theta = t->theta,
                                      .eta = t->eta,
                                      .inner_data = t->train,
                                      .outer_data = t->validation,
                                      .update = HT_SGD(RATE),
                                      .steps = t->steps,
                                      .user = t};
    if (t->which == PENALTIES) t->problem.update = HT_ADAM(3e-3);
    if (t->which != RATES) return;
    t->positive = (ht_coordinate){.outer = "rate", .kind = HT_LOG};
    t->problem.update.rate = HT_OUTER("rate");
    t->problem.coordinates = &t->positive;
    t->problem.n_coordinates = 1;
}

static ht_bilevel_options options_of(const trial *t, int method)
{
    const int64_t last[] = {[HALF] = t->steps / 2, [FIFTH] = t->steps / 5, [FIVE] = 5};
    ht_bilevel_options o = {.bytes = 600000000};
    if (method >= HALF && method <= FIVE)
        o.method = HT_TRUNCATED, o.truncate = last[method];
    if (method == ONE_STEP) o.method = HT_ONE_STEP;
    if (method == FIRST_ORDER) o.method = HT_FIRST_ORDER;
    if (method != SOLVED && method != NEUMANN) return o;
    o.method = HT_IMPLICIT;
    o.solver = method == NEUMANN ? HT_NEUMANN : t->which == CLEANING ? HT_CG : HT_GMRES;
    o.solver_steps = PRODUCTS;
    o.no_bound = true;
    if (method == NEUMANN) o.solver_rate = RATE;
    if (method == SOLVED) o.damping = DAMPING;
    return o;
}

bool trial_open(trial *t, int which, int64_t steps, uint64_t seed)
{
    *t = (trial){.which = which, .steps = steps};
    t->ctx = ht_context_new(&(ht_context_options){.seed = seed, .threads = 1});
    t->train = lab_images(t->ctx, HT_F64, 0, TRAIN);
    t->validation = lab_images(t->ctx, HT_F64, TRAIN, VALIDATION);
    t->theta = lab_theta(t->ctx, model_of(t), HT_F64);
    t->eta = ht_set_new(t->ctx);
    if (!lab_good(t->ctx, "data")) return false;
    if (which == CLEANING)
        ht_corrupt_labels(t->ctx, 5, 0.4, LAB_CLASSES, ht_set_tensor(t->train, "label"),
                          NULL);
    fill_eta(t);
    t->begin = ht_set_clone(t->eta, 0);
    ht_set_copy(t->begin, t->eta);
    trial_problem(t);
    for (int m = 0; m < LIBRARY; m++) {
        ht_bilevel_options o = options_of(t, m);
        t->by[m] = ht_bilevel_new(t->ctx, &t->problem, &o);
    }
    if (which != RATES) t->approximate = approximate_new(&t->problem);
    return lab_good(t->ctx, problem_names[which]);
}

void trial_close(trial *t)
{
    approximate_free(t->approximate);
    for (int m = 0; m < LIBRARY; m++) ht_bilevel_free(t->by[m]);
    ht_set *const sets[] = {t->train, t->validation, t->theta, t->eta, t->begin};
    for (int i = 0; i < 5; i++) ht_set_free(sets[i]);
    ht_context_free(t->ctx);
}

bool trial_gradient(trial *t, int method, ht_set *to)
{
    if (method < LIBRARY) {
        const ht_set *got = ht_bilevel_run(t->by[method], 0).gradient;
        if (got) ht_set_copy(to, got);
        return got && lab_norm(to) > 0;
    }
    if (!t->approximate || !approximate_train(t->approximate)) return false;
    if (method == IDENTITY) return approximate_identity(t->approximate, to);
    if (method == DARTS) return approximate_darts(t->approximate, to);
    return approximate_sama(t->approximate, method == SAMA ? 1 : 0.01, to);
}
