// The stream of the standard random operators that have no seed of their own.
#pragma once

#include <cstdint>

namespace toolkit {

// Starts it anew, for all programs of the process.
void SeedRandom(uint64_t seed);

}  // namespace toolkit
