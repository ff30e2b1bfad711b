// Which networks can be run.
#pragma once
#include <string>

#include "backbone.h"

// What is wrong with a description, as one clause; empty if it can be run.
std::string why_not(const MmbasNetwork &network);

std::string why_not(const MmbasHead &head);

// Whether a block reads every second pixel of its input.
bool reads_phases(const MmbasBlock &block);
