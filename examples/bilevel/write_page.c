/* SPDX-License-Identifier: MIT */
/* write_page.c: how the message came into the layer, and the images that brought it.
 * Read next: ../common/common.h. */
#include <math.h>
#include <string.h>

#include "write.h"

enum { CLASSES = 10 };

/* Dark where positive, black from `most` on. */
static void show_layers(report *page, const report_figure *figure, const written *w,
                        double most)
{
    char caption[N_SHOWN][32];
    report_image image[N_SHOWN];
    for (int k = 0; k < N_SHOWN; k++) {
        snprintf(caption[k], sizeof caption[k], "step %lld", (long long)w->at[k]);
        image[k] = (report_image){ht_tensor_data(w->weight[k]), caption[k]};
    }
    report_images(page, figure,
                  &(report_gallery){w->wanted->rows, w->wanted->cols, 1, most, -most,
                                    N_SHOWN, image, true});
}

/* The first of each class. */
static void show_digits(report *page, const char *title, const written *w,
                        const ht_tensor *x)
{
    const float *at = ht_tensor_data(x);
    const int32_t *label = ht_tensor_data(ht_set_tensor(w->train, "label"));
    int64_t n = ht_tensor_shape(x).dim[0], pixels = ht_tensor_shape(x).dim[1];
    ht_tensor *ten = ht_tensor_new(w->run->ctx, HT_F32, HT_SHAPE(CLASSES, pixels));
    bool found[CLASSES] = {false};
    if (!ten) return;
    for (int64_t i = 0; i < n; i++)
        if (!found[label[i]]) {
            found[label[i]] = true;
            memcpy((float *)ht_tensor_data(ten) + label[i] * pixels, at + i * pixels,
                   (size_t)pixels * sizeof *at);
        }
    demo_images(page, &(report_figure){title}, w->images, ten, 1, 0);
    ht_tensor_free(ten);
}

static void show_written(report *page, const written *w)
{
    char path[OUTPUT_PATH];
    const demo_number *number = w->run->numbers;
    report_number(page, "wrong modules", "signs of weights that are not as they should",
                  "%.0f", number[WRONG].value);
    show_layers(page,
                &(report_figure){"The layer as the network trains",
                                 .note = "Dark: positive weights."},
                w, 1.5 / sqrt((double)w->wanted->rows));
    show_layers(page,
                &(report_figure){"The signs alone", .note = "message.png is the last."},
                w, 1e-30);
    if (path_join(w->run->ctx, path, w->run->options->out, "message.png"))
        picture_write(w->run->ctx, path, w->wanted, w->weight[N_SHOWN - 1]);
}

void written_page(const written *w)
{
    report page;
    if (!demo_page(&page, w->run)) return;
    report_curve(&page,
                 &(report_figure){"Modules that are wrong", "outer step", .log_y = true},
                 1, (report_series[]){metrics_series(w->run->steps, "wrong")});
    if (w->weight[0]) {
        report_section(&page, "What the network holds");
        show_written(&page, w);
        report_section(&page, "What it was trained on");
        show_digits(&page, "Ten of the images before", w, ht_set_tensor(w->train, "x"));
        show_digits(&page, "The same ten as they were learned", w,
                    ht_set_at(w->run->eta, 0));
    }
    demo_page_end(&page, w->run, w->run->eta, "pixels.safetensors");
}

void written_say(const written *w)
{
    const demo_number *number = w->run->numbers;
    FILE *f = command_text(&w->run->options->common);
    if (!w->weight[0]) return;
    fprintf(f, "\nWritten is %s:\nmodules that are wrong: %.0f of %lld", w->wanted->about,
            number[WRONG].value, (long long)(w->wanted->rows * w->wanted->cols));
    if (w->wanted->code.side)
        fprintf(f, ", in %.0f codewords", number[WRONG_CODEWORDS].value);
    fprintf(f,
            "\nThe network that holds it reads %.2f %% of the test digits, the one\n"
            "that was trained on the digits as they were %.2f %%\n",
            number[AFTER].value, number[BEFORE].value);
}
