// Which feature maps a plan needs and where they lie.
//
// The planner draws up its steps twice: the first time its requests are noted, then place() gives
// every map its memory, and the second draft is final.
#pragma once
#include <map>
#include <tuple>
#include <utility>

#include "../../native/interface/sizes.h"
#include "step.h"

// Maps of one size with different roles are alive at the same time.
enum Role { kStream, kOtherStream, kInner, kOtherInner, kPooled };

class FeatureMaps {
  public:
    // A convolution reads so far beyond the borders of maps, or phases, of this size.
    void need_padding(Size size, int positions);
    // A map of this size; the same for the same arguments.
    Map get(Size size, bool phased, Role role, int channels);
    Grid grid(Size size, bool phased) const;
    // Gives the maps asked for so far memory behind `start`; returns its end.
    int64_t place(int64_t start);

  private:
    struct Slot {
        int blocks = 0;
        int64_t offset = 0;
    };
    typedef std::tuple<int, int, bool, int> Key;

    int padding(Size size) const;
    int64_t before(Size size, bool phased) const;  // positions in front of position 0
    int pitch(Size size) const;
    Size plane_size(Size size, bool phased) const;

    std::map<std::pair<int, int>, int> padding_;
    std::map<Key, Slot> slots_;
};

// Positions from the first pixel to behind the last one of all planes.
int64_t span(const Grid &grid);
