// Shapes of models that are asked for by name where no files are at hand: measurements.
#pragma once

#include <string>
#include <vector>

#include "model/config.h"

namespace hone {

std::vector<std::string> shape_names();

// Without end tokens: random weights would draw them at random. Throws UserError: no such name.
ModelConfig named_shape(const std::string& name);

}  // namespace hone
