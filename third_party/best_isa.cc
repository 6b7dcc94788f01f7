// Prints the best instruction set of the machine that it runs on, for isa.cmake.
#include <cstdio>

#include "cpu/isa.h"

int main() { std::fputs(octavo::cpu::name_of(octavo::cpu::available_isas().front()), stdout); }
