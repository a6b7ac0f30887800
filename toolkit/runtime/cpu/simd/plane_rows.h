// Rows of a plane under a window that slides over it.
#pragma once

#include <stdint.h>

namespace toolkit {

// `there` rows, `pitch` apart, after `above` rows of padding; padding follows them too. Columns
// have their padding written out.
struct PlaneRowsIn {
  const float* at;
  int64_t pitch, above, there;
};

}  // namespace toolkit
