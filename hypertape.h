/* SPDX-License-Identifier: MIT */
/* hypertape.h: the whole library in one include. */
#ifndef HYPERTAPE_H
#define HYPERTAPE_H

#include "ht_autograd.h"
#include "ht_bilevel.h"
#include "ht_data.h"
#include "ht_nn.h"
#include "ht_set.h"
#include "ht_status.h"
#include "ht_tensor.h"
#include "ht_version.h"

#endif
