// A name that is declared, not computed with.
#pragma once

struct __nv_fp8_e4m3 {
    unsigned char __x;
    __nv_fp8_e4m3() {}
    __nv_fp8_e4m3(float) {}
    operator float() const { return 0; }
};
