/* SPDX-License-Identifier: MIT */
/* loops_float.h: the loops of a float type, included by loops.c for each with
 *   FLOAT(name) names, ELEMENT, FLOAT_EXP(x), FLOAT_LOG1P(x) of a double,
 *   FLOAT_POWER(x) and FLOAT_BASE, such that the power of FLOAT_BASE * x is exp(x),
 *   FLOAT_BITS, an integer of its size, and FLOAT_MAGNITUDE, the largest of these. */
#include "loops_moment.h"
/* Before rows, whose short ones are its tiles. */
#include "loops_slope.h"

#include "loops_attention.h"
#include "loops_norm.h"
#include "loops_rows.h"
#include "loops_window.h"

#undef FLOAT
#undef ELEMENT
#undef FLOAT_EXP
#undef FLOAT_LOG1P
#undef FLOAT_POWER
#undef FLOAT_BASE
#undef FLOAT_BITS
#undef FLOAT_MAGNITUDE
