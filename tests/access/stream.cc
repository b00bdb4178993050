// C++ streams: libstdc++ writes through stdio's descriptor.
#include <fstream>

int
main()
{
    std::ofstream out("out");
    for (int i = 0; i < 100000; i++)
        out << i << '\n';
    out.close();
    std::ifstream in("out");
    int first = 0;
    in >> first;
    std::fstream both("both", std::ios::in | std::ios::out | std::ios::trunc);
    both << first;
}
